"""The command line: the only part that prints or exits. Heavy libraries are imported inside the commands."""

"""Tables in, results out: no files, no printing."""

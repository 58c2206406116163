"""One writer per file format: a run's tables in, a file of another program out."""

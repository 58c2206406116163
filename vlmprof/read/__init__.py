"""One reader per file format: a raw file in, tables on their own clock out."""

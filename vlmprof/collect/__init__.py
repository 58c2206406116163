"""Collectors: what watches the served processes and writes into `raw/`."""

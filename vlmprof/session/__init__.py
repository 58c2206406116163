"""A profiling session: serve, measure, and turn what was captured into tables and results."""

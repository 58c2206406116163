"""Reports: each module turns what a run folder holds into one self-contained page."""

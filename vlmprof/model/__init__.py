"""Frozen dataclasses and table schemas: what every other layer speaks."""

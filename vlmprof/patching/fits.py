"""Versions of a distribution that something was written for."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fits:
    """Versions of a distribution, by the first of its names that is installed: at_least <= version < below."""

    distributions: tuple[str, ...]
    at_least: str
    below: str

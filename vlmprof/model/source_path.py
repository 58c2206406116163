"""Paths of source files without what they say of the machine that they were seen on."""

import re

# An installed package, the standard library, a package of ours that is run from a checkout.
_PLACES = (
    re.compile(r"^.*/(?:site|dist)-packages/"),
    re.compile(r"^.*?/lib/python3\.\d+/"),
    re.compile(r"^.*/(?=vlmprof(?:_recipes)?/)"),
)


def short_path(path: str) -> str:
    """A source path below the folder that its package is installed in."""
    for place in _PLACES:
        found = place.match(path)
        if found:
            return path[found.end() :]
    return path


def portable_path(path: str) -> str:
    """The same with the last folder's own name before it: an ellipsis for what lies above.

    Readers of it can still tell an installed package from the standard library.
    """
    short = short_path(path)
    if short == path:
        return path
    above = path[: len(path) - len(short)]
    kept = re.search(r"(?:lib/python3\.\d+|(?:site|dist)-packages)/$", above)
    return f"…/{kept.group() if kept else ''}{short}"

"""Real files of other people's, beside the checkout; never part of it."""

from pathlib import Path

import pytest

_FOLDER = Path(__file__).parents[3] / "shared" / "data"


def shared_file(kind: str, fragment: str) -> Path:
    """The file of this kind whose name contains the fragment; skips the test where it is absent."""
    found = sorted((_FOLDER / kind).glob(f"*{fragment}*"))
    if not found:
        pytest.skip(f"no {fragment} among the real {kind} files (../shared/data)")
    return found[0]


def shared_files(kind: str) -> list[Path]:
    """All files of this kind, for parametrizing; none where they are absent."""
    return sorted(path for path in (_FOLDER / kind).glob("*") if path.is_file())

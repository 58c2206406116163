"""Compiling the reader where numba can and cannot keep what it compiled."""

from pathlib import Path
from typing import Any

import numba
import pytest

from vlmprof.read import compiled as module


def test_code_compiles_where_no_folder_can_keep_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """numba raises when it finds no folder for its cache: the function is compiled without one."""

    def njit(*functions: Any, cache: bool = False) -> Any:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return functions[0]

    monkeypatch.setattr(numba, "njit", njit)
    assert module.compiled(abs) is abs


def test_the_cache_is_the_user_s_and_that_of_this_code(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Below XDG_CACHE_HOME, unless NUMBA_CACHE_DIR says otherwise, which stays as it was."""
    seen: list[str] = []

    def njit(cache: bool) -> Any:
        seen.append(numba.config.CACHE_DIR)
        return lambda function: function

    monkeypatch.setattr(numba, "njit", njit)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for configured in ("", "/elsewhere"):
        monkeypatch.setattr(numba.config, "CACHE_DIR", configured)
        module.compiled(abs)
        assert configured == numba.config.CACHE_DIR
    assert Path(seen[0]).parent == tmp_path / "vlmprof"
    assert seen[1] == "/elsewhere"

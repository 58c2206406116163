"""NVTX ranges around spans, for Nsight Systems; with whichever binding the engine's environment has."""

import sys
from typing import Any

DOMAIN = "vlmprof"


class NvtxPackageRanges:
    """Ranges through the `nvtx` package, in a domain of our own.

    The module's functions, not its Domain objects: those changed their methods from release to release.
    """

    def __init__(self, nvtx: Any) -> None:
        self._push, self._pop = nvtx.push_range, nvtx.pop_range

    def push(self, name: str) -> None:
        self._push(name, domain=DOMAIN)

    def pop(self) -> None:
        self._pop(domain=DOMAIN)


class TorchRanges:
    """Ranges through torch's own binding, where the `nvtx` package is absent; loaded with the first range."""

    def __init__(self) -> None:
        self._binding: Any = None

    def push(self, name: str) -> None:
        if self._binding is None:
            from torch._C import _nvtx

            self._binding = _nvtx
        self._binding.rangePushA(name)

    def pop(self) -> None:
        self._binding.rangePop()


def open_ranges() -> NvtxPackageRanges | TorchRanges | None:
    """The best binding there is, or None with a line on stderr."""
    try:
        import nvtx
    except ImportError:
        pass
    else:
        return NvtxPackageRanges(nvtx)
    try:
        from importlib.util import find_spec

        if find_spec("torch") is not None:
            return TorchRanges()
    except (ImportError, ValueError):
        pass
    print("vlmprof: neither nvtx nor torch is installed: no NVTX ranges", file=sys.stderr)  # noqa: T201
    return None

"""GPU kernels by family and by transformer layer, of a whole run or of one of its phases."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlmprof.analysis.kernel_families import FAMILIES, family_of
from vlmprof.analysis.kernel_layers import Ints, find_period, layer_starts

__all__ = [
    "FAMILIES",
    "FamilyTime",
    "KernelBreakdown",
    "KernelColumns",
    "LayerPattern",
    "breakdown_of_columns",
    "family_of",
    "kernel_breakdown",
    "kernel_columns",
    "place_of",
]

_ENOUGH_KERNELS = 1_000_000
"""A layer's length is found in the first kernels of a stream: later ones have no other."""


@dataclass(frozen=True, slots=True, eq=False)
class KernelColumns:
    """n kernels.

    Attributes:
        name: index in `names` of each.
        place: a number for its process, device and stream.
    """

    names: Sequence[str]
    name: Ints
    place: Ints
    start_ns: Ints
    end_ns: Ints

    def __len__(self) -> int:
        return len(self.name)

    def where(self, rows: Ints) -> "KernelColumns":
        """Some of the kernels."""
        return KernelColumns(
            self.names, self.name[rows], self.place[rows], self.start_ns[rows], self.end_ns[rows]
        )


@dataclass(frozen=True, slots=True)
class FamilyTime:
    """Kernels of one family: their number and the sum of their durations."""

    family: str
    kernels: int
    total_ns: int

    @property
    def mean_ns(self) -> float:
        return self.total_ns / self.kernels if self.kernels else 0.0


@dataclass(frozen=True, slots=True)
class LayerPattern:
    """A sequence of kernels that repeats, as the layers of a transformer do.

    Attributes:
        names: the kernels of one layer in their order.
        kernel_ns: mean of each of them over the layers.
        layers: how often it was found.
        mean_ns, spread_ns: of the sum of a layer's kernels; spread is the standard deviation over layers.
        family_ns, family_spread_ns: the same of each family in a layer.
    """

    names: tuple[str, ...]
    kernel_ns: tuple[float, ...]
    layers: int
    mean_ns: float
    spread_ns: float
    family_ns: dict[str, float]
    family_spread_ns: dict[str, float]


@dataclass(frozen=True, slots=True)
class KernelBreakdown:
    """All kernels of a run, or of a phase.

    Attributes:
        families: every family that occurs, the most time first.
        layer: the pattern that covers the most kernels; None where nothing repeats.
    """

    kernels: int
    total_ns: int
    families: list[FamilyTime]
    layer: LayerPattern | None


def kernel_columns(kernels: Any) -> KernelColumns:
    """The table `gpu_kernels` as columns."""
    encoded = kernels["name"].unify_dictionaries().combine_chunks()
    pid, device, stream, start_ns, end_ns, name = (
        column.to_numpy(zero_copy_only=False).astype(np.int64)
        for column in (
            *(kernels[each].combine_chunks() for each in ("pid", "device", "stream", "start_ns", "end_ns")),
            encoded.indices,
        )
    )
    names = [text or "" for text in encoded.dictionary.to_pylist()]
    return KernelColumns(names, name, place_of(pid, device, stream), start_ns, end_ns)


def place_of(pid: Ints, device: Ints, stream: Ints) -> Ints:
    """One number for a process, a device and a stream."""
    return pid << 40 ^ device << 32 ^ stream


def kernel_breakdown(kernels: Any) -> KernelBreakdown:
    """The table `gpu_kernels` by family and layer."""
    return breakdown_of_columns(kernel_columns(kernels))


def breakdown_of_columns(kernels: KernelColumns) -> KernelBreakdown:
    """Kernels by family and layer.

    Times are sums over kernels: those that overlap on several streams count several times.
    """
    durations_ns = kernels.end_ns - kernels.start_ns
    family_of_name = np.array([FAMILIES.index(family_of(name)) for name in kernels.names], np.int64)
    families = family_of_name[kernels.name] if len(kernels) else kernels.name
    totals_ns = np.bincount(families, durations_ns, len(FAMILIES))
    counts = np.bincount(families, minlength=len(FAMILIES))
    found = [
        FamilyTime(family, int(count), round(total_ns))
        for family, count, total_ns in zip(FAMILIES, counts, totals_ns, strict=True)
        if count
    ]
    return KernelBreakdown(
        kernels=len(kernels),
        total_ns=int(durations_ns.sum()),
        families=sorted(found, key=lambda each: -each.total_ns),
        layer=_layer(kernels, durations_ns),
    )


def _layer(kernels: KernelColumns, durations_ns: Ints) -> LayerPattern | None:
    """The pattern of the stream with the most kernels."""
    if not len(kernels):
        return None
    places, place = np.unique(kernels.place, return_inverse=True)
    rows = np.flatnonzero(place == np.bincount(place, minlength=len(places)).argmax())
    rows = rows[np.argsort(kernels.start_ns[rows], kind="stable")]
    sequence = kernels.name[rows]
    is_gemm = np.array([family_of(name) == "gemm" for name in kernels.names])[sequence]
    period = find_period(sequence[:_ENOUGH_KERNELS], is_gemm)
    if not period:
        return None
    starts = layer_starts(sequence, period)
    names = [kernels.names[code] for code in sequence[starts[0] : starts[0] + period].tolist()]
    return _pattern(names, durations_ns[rows[starts[:, None] + np.arange(period)]])


def _pattern(names: Sequence[str], times_ns: Ints) -> LayerPattern:
    """times_ns: (layers, kernels of one)."""
    family = np.array([family_of(name) for name in names])
    of_family = {each: times_ns[:, family == each].sum(axis=1) for each in dict.fromkeys(family.tolist())}
    layer_ns = times_ns.sum(axis=1)
    return LayerPattern(
        names=tuple(names),
        kernel_ns=tuple(times_ns.mean(axis=0).tolist()),
        layers=len(times_ns),
        mean_ns=float(layer_ns.mean()),
        spread_ns=float(layer_ns.std()),
        family_ns={each: float(of_layer.mean()) for each, of_layer in of_family.items()},
        family_spread_ns={each: float(of_layer.std()) for each, of_layer in of_family.items()},
    )

"""GPU kernels by family and by transformer layer; of two runs, what each layer costs in both."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Ints = npt.NDArray[np.int64]

# The first that matches counts: names of fused kernels, and types within names, fit several.
_PATTERNS: tuple[tuple[str, str], ...] = (
    ("communication", r"nccl|rccl|all_?reduce|all_?gather|reduce_scatter"),
    ("quantize", r"(?<!de)quant(?!ized_?gemm)|per_token_cast"),
    ("attention", r"fmha|flash_?(fwd|attn|bwd)|attention|reshape_and_cache|BatchPrefill|BatchDecode"),
    (
        "gemm",
        r"gemm|gemv|nvjet|Cijk_|matmul|(^|\W)bmm_|fprop|xmma|cublas|cutlass\w*::(device_)?Kernel|conv\dd",
    ),
    ("rotary", r"rotary|rope(?![a-z])"),
    ("norm", r"(rms|layer|group)_?norm|triton\w*rsqrt"),
    ("activation", r"silu|gelu|swiglu|relu|tanh_kernel|sigmoid"),
    ("copy", r"copy|memcpy|CatArray|nchwToNhwc|nhwcToNchw|transpose|gather|indexSelect|index_elementwise"),
)
_FAMILIES = tuple((family, re.compile(pattern, re.IGNORECASE)) for family, pattern in _PATTERNS)
FAMILIES = (*(family for family, _ in _FAMILIES), "other")

_SHORTEST_LAYER, _LONGEST_LAYER = 4, 256
_FEWEST_LAYERS = 3
_ENOUGH_OF_BEST = 0.95
_ENOUGH_KERNELS = 1_000_000
"""A layer's length is found in the first kernels of a stream: later ones have no other."""


def family_of(name: str) -> str:
    """The family of a kernel, by its name; `"other"` where no pattern fits."""
    return next((family for family, pattern in _FAMILIES if pattern.search(name)), "other")


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
        layers: how often it was found.
        mean_ns, spread_ns: of the sum of a layer's kernels; spread is the standard deviation over layers.
        family_ns: mean time of each family in a layer.
    """

    names: tuple[str, ...]
    layers: int
    mean_ns: float
    spread_ns: float
    family_ns: dict[str, float]


@dataclass(frozen=True, slots=True)
class KernelBreakdown:
    """All kernels of a run.

    Attributes:
        families: every family that occurs, the most time first.
        layer: the pattern that covers the most kernels; None where nothing repeats.
    """

    kernels: int
    total_ns: int
    families: list[FamilyTime]
    layer: LayerPattern | None


def kernel_breakdown(kernels: Any) -> KernelBreakdown:
    """Kernels of the table GPU_KERNELS by family and layer.

    Times are sums over kernels: those that overlap on several streams count several times.
    """
    names, codes = _names(kernels)
    durations_ns = (kernels["end_ns"].to_numpy() - kernels["start_ns"].to_numpy()).astype(np.int64)
    family_of_code = np.array([FAMILIES.index(family_of(name)) for name in names], np.int64)
    families = family_of_code[codes] if len(codes) else codes
    totals_ns = np.bincount(families, durations_ns, len(FAMILIES))
    counts = np.bincount(families, minlength=len(FAMILIES))
    found = [
        FamilyTime(family, int(count), round(total_ns))
        for family, count, total_ns in zip(FAMILIES, counts, totals_ns, strict=True)
        if count
    ]
    return KernelBreakdown(
        kernels=len(codes),
        total_ns=int(durations_ns.sum()),
        families=sorted(found, key=lambda each: -each.total_ns),
        layer=_layer(kernels, names, codes, durations_ns),
    )


def _names(kernels: Any) -> tuple[list[str], Ints]:
    encoded = kernels["name"].unify_dictionaries().combine_chunks()
    return [name or "" for name in encoded.dictionary.to_pylist()], encoded.indices.to_numpy().astype(
        np.int64
    )


def _layer(kernels: Any, names: Sequence[str], codes: Ints, durations_ns: Ints) -> LayerPattern | None:
    """The pattern of the stream with the most kernels."""
    if not len(codes):
        return None
    pid, device, stream = (kernels[name].to_numpy().astype(np.int64) for name in ("pid", "device", "stream"))
    place = pa.array(pid << 40 ^ device << 32 ^ stream).dictionary_encode().indices.to_numpy()
    rows = np.flatnonzero(place == np.bincount(place).argmax())
    rows = rows[np.argsort(kernels["start_ns"].to_numpy()[rows], kind="stable")]
    sequence = codes[rows]
    is_gemm = np.array([family_of(name) == "gemm" for name in names])[sequence]
    period = find_period(sequence[:_ENOUGH_KERNELS], is_gemm)
    if not period:
        return None
    starts = layer_starts(sequence, period)
    blocks = rows[starts[:, None] + np.arange(period)]
    times_ns = durations_ns[blocks]
    pattern = tuple(names[code] for code in sequence[starts[0] : starts[0] + period])
    family_ns: dict[str, float] = {}
    for name, mean_ns in zip(pattern, times_ns.mean(axis=0).tolist(), strict=True):
        family_ns[family_of(name)] = family_ns.get(family_of(name), 0.0) + mean_ns
    layer_ns = times_ns.sum(axis=1)
    return LayerPattern(pattern, len(starts), float(layer_ns.mean()), float(layer_ns.std()), family_ns)


def find_period(sequence: Ints, is_gemm: npt.NDArray[np.bool_]) -> int:
    """The shortest length of a layer that explains nearly as many kernels as any; 0 where nothing repeats.

    A layer holds a matrix product: a loop over elementwise kernels is none.
    """
    covered = {}
    for period in range(_SHORTEST_LAYER, min(_LONGEST_LAYER, len(sequence) // _FEWEST_LAYERS) + 1):
        starts = layer_starts(sequence, period)
        if len(starts) >= _FEWEST_LAYERS and is_gemm[starts[0] : starts[0] + period].any():
            covered[period] = len(starts) * period
    most = max(covered.values(), default=0)
    return next((period for period, count in covered.items() if count >= _ENOUGH_OF_BEST * most), 0)


def layer_starts(sequence: Ints, period: int) -> Ints:
    """Where the layers of the most frequent pattern of this length start.

    Layers stand in runs of at least three; in each, the kernel equals the one a period later.
    """
    same = np.concatenate([[False], sequence[:-period] == sequence[period:], [False]])
    edges = np.flatnonzero(same[1:] != same[:-1])
    starts, ends = edges[::2], edges[1::2]
    long = ends - starts >= (_FEWEST_LAYERS - 1) * period
    found = [
        np.arange(start, end + 1, period)[: (end - start) // period + 1]
        for start, end in zip(starts[long].tolist(), ends[long].tolist(), strict=True)
    ]
    if not found:
        return np.empty(0, np.int64)
    # Runs of another pattern of the same length, as of a second model, are left out.
    shapes = [tuple(sorted(sequence[run[0] : run[0] + period].tolist())) for run in found]
    layers = {
        shape: sum(len(run) for run, own in zip(found, shapes, strict=True) if own == shape)
        for shape in shapes
    }
    best = max(layers, key=lambda shape: layers[shape])
    return np.concatenate([run for run, shape in zip(found, shapes, strict=True) if shape == best])

"""A layer of one run beside a layer of another: what each kernel costs, and what the difference is made of."""

from dataclasses import dataclass

from vlmprof.analysis.kernel_families import family_of
from vlmprof.analysis.kernels import LayerPattern

# FP8 and INT8 engines fuse the quantization of activations into the norm or the activation before it: whatever of
# it has a kernel of its own, the three are to be seen together.
_PARTS = {
    "matrix products": ("gemm",),
    "norm, activation and quantization": ("norm", "activation", "quantize"),
}
_REST = "everything else"


@dataclass(frozen=True, slots=True)
class KernelPair:
    """One kernel in the mean layer of both runs: how often, and ns in all; 0 where a run's layer lacks it."""

    name: str
    family: str
    counts: tuple[int, int]
    times_ns: tuple[float, float]


@dataclass(frozen=True, slots=True)
class PartChange:
    """What one part of a layer costs in the first run and in the second, ns."""

    part: str
    first_ns: float
    second_ns: float

    @property
    def change_ns(self) -> float:
        """Positive where the second run is slower."""
        return self.second_ns - self.first_ns


@dataclass(frozen=True, slots=True)
class LayerComparison:
    """Two layers side by side.

    Attributes:
        kernels: those that only one of them has, then those of both; the largest first.
        parts: their changes add up to `balance_ns`, the second layer less the first.
    """

    kernels: list[KernelPair]
    parts: list[PartChange]
    balance_ns: float


def compare_layers(first: LayerPattern, second: LayerPattern) -> LayerComparison:
    """The layer of a first run beside that of a second."""
    of_first, of_second = _by_name(first), _by_name(second)
    pairs = []
    for name in dict.fromkeys((*of_first, *of_second)):
        one, two = of_first.get(name, (0, 0.0)), of_second.get(name, (0, 0.0))
        pairs.append(KernelPair(name, family_of(name), (one[0], two[0]), (one[1], two[1])))
    return LayerComparison(
        kernels=sorted(pairs, key=lambda pair: (min(pair.counts) > 0, -max(pair.times_ns))),
        parts=_parts(first, second),
        balance_ns=second.mean_ns - first.mean_ns,
    )


def _by_name(layer: LayerPattern) -> dict[str, tuple[int, float]]:
    """How often each kernel stands in a layer, and the time of all of these."""
    found: dict[str, tuple[int, float]] = {}
    for name, time_ns in zip(layer.names, layer.kernel_ns, strict=True):
        count, total_ns = found.get(name, (0, 0.0))
        found[name] = count + 1, total_ns + time_ns
    return found


def _parts(first: LayerPattern, second: LayerPattern) -> list[PartChange]:
    named = {family for families in _PARTS.values() for family in families}
    rest = tuple(sorted((first.family_ns.keys() | second.family_ns.keys()) - named))
    return [
        PartChange(
            part, *(sum(layer.family_ns.get(each, 0.0) for each in families) for layer in (first, second))
        )
        for part, families in (*_PARTS.items(), (_REST, rest))
    ]

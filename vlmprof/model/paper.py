"""Tables 1 and 2 of "Empirical Recipes for Efficient and Compact Vision-Language Models" (arXiv 2603.16987).

Rows are cumulative, in the authors' order, measured with vLLM on one H100, without variance.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PaperRow:
    """One row: the recipes that it adds, and the figures with all up to it."""

    recipes: tuple[int, ...]
    ttft_ms: float
    tokens_per_s: float
    e2e_ms: float


@dataclass(frozen=True, slots=True)
class PaperTable:
    """One table; its first row is the baseline, which adds nothing."""

    title: str
    rows: tuple[PaperRow, ...]


INTERNVL3_2B = PaperTable(
    "Table 1, InternVL3-2B",
    (
        PaperRow((), 124.0, 270.86, 180.85),
        PaperRow((1, 2, 3), 80.9, 279.14, 127.20),
        PaperRow((4,), 72.8, 278.43, 119.31),
        PaperRow((5,), 71.7, 280.30, 109.52),
        PaperRow((6,), 68.4, 282.87, 113.40),
        PaperRow((7, 8), 58.3, 281.94, 105.82),
        PaperRow((12,), 57.7, 292.66, 101.26),
    ),
)
SMOLVLM_256M = PaperTable(
    "Table 2, SmolVLM-256M",
    (
        PaperRow((), 344.7, 460.71, 427.59),
        PaperRow((9,), 241.6, 461.12, 325.20),
        PaperRow((1, 2, 5), 71.9, 420.91, 151.34),
        PaperRow((3,), 59.7, 466.21, 131.65),
        PaperRow((8,), 47.4, 471.77, 118.32),
        PaperRow((6,), 38.3, 470.40, 109.71),
        PaperRow((10,), 29.5, 494.51, 96.54),
        PaperRow((4,), 28.7, 497.95, 95.26),
        PaperRow((7,), 27.4, 498.86, 93.91),
        PaperRow((11,), 23.5, 500.74, 89.67),
        PaperRow((12,), 22.8, 533.28, 85.07),
    ),
)

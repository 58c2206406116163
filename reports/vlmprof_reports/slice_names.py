"""What slices of the timeline are called: each text once, with the category that colours it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vlmprof.analysis.stack_table import Ints, as_ints

MAX_NAMES = 50_000
OTHER_NAME = "(other names)"
# Exports of PyTorch's NVTX ranges number every call: the number says nothing and would make each name distinct.
_CALL_NUMBER = r", (op_id|seq|op_ids?) = .*$"


@dataclass
class Names:
    """Texts of slices, each once for each category: a stage of spans, a family of kernels; -1 is none."""

    texts: list[str] = field(default_factory=list)
    category: list[int] = field(default_factory=list)
    numbers: dict[tuple[str, int], int] = field(default_factory=dict)

    def number(self, text: str, category: int = -1) -> int:
        """The number of one text; beyond `MAX_NAMES` all share one."""
        key = (text, category)
        if key not in self.numbers and len(self.texts) >= MAX_NAMES:
            key = (OTHER_NAME, -1)
        if key not in self.numbers:
            self.numbers[key] = len(self.texts)
            self.texts.append(key[0])
            self.category.append(key[1])
        return self.numbers[key]

    def column(self, column: Any, category: Callable[[str], int]) -> Ints:
        """The numbers of a column of texts, each text in the category that a function says."""
        encoded = pc.fill_null(column.cast(pa.string()), "").combine_chunks().dictionary_encode()
        cleaned = without_call_numbers(encoded.dictionary).to_pylist()
        numbers = [self.number(text, category(text)) for text in cleaned]
        return (
            np.array(numbers, dtype=np.int64)[as_ints(encoded.indices)]
            if numbers
            else np.empty(0, dtype=np.int64)
        )


def without_call_numbers(names: Any) -> Any:
    """Names of ranges without what tells one call from another."""
    return pc.replace_substring_regex(names, _CALL_NUMBER, "")

"""GPU kernels by name, for the table of the page."""

from typing import Any

import numpy as np
import pyarrow.compute as pc

from vlmprof.analysis.kernels import family_of
from vlmprof.analysis.stack_table import as_ints

MOST_ROWS = 400


def kernel_rows(kernels: Any) -> list[dict[str, Any]]:
    """Each name of a kernel with family, count, total, mean and longest in ns and its share of all kernels' time.

    Most time first; of more than `MOST_ROWS` names the rest is one row.
    """
    if not kernels.num_rows:
        return []
    encoded = pc.fill_null(kernels["name"].cast("string"), "").combine_chunks().dictionary_encode()
    names, code = encoded.dictionary.to_pylist(), as_ints(encoded.indices)
    length_ns = np.maximum(as_ints(kernels["end_ns"]) - as_ints(kernels["start_ns"]), 0)
    total_ns = np.bincount(code, weights=length_ns, minlength=len(names)).astype(np.int64)
    count = np.bincount(code, minlength=len(names))
    longest_ns = np.zeros(len(names), dtype=np.int64)
    np.maximum.at(longest_ns, code, length_ns)
    order = np.argsort(-total_ns, kind="stable")
    rows = [
        {
            "name": names[each],
            "family": family_of(names[each]),
            "count": int(count[each]),
            "total_ns": int(total_ns[each]),
            "longest_ns": int(longest_ns[each]),
        }
        for each in order[:MOST_ROWS].tolist()
    ]
    rest = order[MOST_ROWS:]
    if len(rest):
        rows.append(
            {
                "name": f"({len(rest)} other kernels)",
                "family": "other",
                "count": int(count[rest].sum()),
                "total_ns": int(total_ns[rest].sum()),
                "longest_ns": int(longest_ns[rest].max()),
            }
        )
    return rows

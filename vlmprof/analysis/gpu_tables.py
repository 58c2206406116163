"""The GPU's tables of a run, together."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vlmprof.analysis.stack_table import Flags, Ints, as_ints


@dataclass(frozen=True, slots=True, eq=False)
class GpuTables:
    """`gpu_kernels`, `gpu_copies`, `cuda_api` and `gpu_syncs` of a run, each sorted by start."""

    kernels: Any
    copies: Any
    calls: Any
    syncs: Any

    @property
    def size(self) -> int:
        """How many pieces of work there are: kernels and copies."""
        return int(self.kernels.num_rows + self.copies.num_rows)

    def work(self, *columns: str) -> Any:
        """Columns that kernels and copies share, of the kernels and then the copies."""
        return pa.concat_tables([self.kernels.select(columns), self.copies.select(columns)])

    def is_h2d(self) -> Flags:
        """Which pieces of work are copies from the host."""
        copies = pc.equal(self.copies["kind"].cast(pa.string()), "HtoD").to_numpy()
        return np.concatenate([np.zeros(self.kernels.num_rows, np.bool_), np.asarray(copies, np.bool_)])

    def launched_ns(self, attribution: Any) -> Ints:
        """From when each piece of work waited to begin: when the call that launched it returned.

        Its own start where it had begun by then, or where the call is not known.
        """
        call_row = as_ints(pc.fill_null(attribution["call_row"], -1))
        returned_ns = np.append(as_ints(self.calls["end_ns"]), -1)[call_row]
        start_ns = as_ints(self.work("start_ns")["start_ns"])
        return np.where(returned_ns < 0, start_ns, np.minimum(returned_ns, start_ns))

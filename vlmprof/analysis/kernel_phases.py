"""GPU kernels of each phase of a run: the vision encoder, prefill steps, decode steps."""

from typing import Any

import numpy as np

from vlmprof.analysis.kernels import KernelBreakdown, breakdown_of_columns, kernel_columns
from vlmprof.analysis.merge_gpu import name_codes
from vlmprof.analysis.merge_gpu_phases import PHASES


def breakdown_by_phase(kernels: Any, attribution: Any) -> dict[str, KernelBreakdown]:
    """A breakdown of each phase that has kernels, in the order of a request.

    Args:
        kernels, attribution: the tables `gpu_kernels` and `gpu_attribution`; an empty one of the latter, as of a
            run made before there was one, gives no phase.
    """
    phase = attribution["phase"].slice(0, kernels.num_rows)
    if len(phase) < kernels.num_rows:
        return {}
    columns = kernel_columns(kernels)
    texts, codes = name_codes(phase)
    known = np.asarray(phase.is_valid().to_numpy(), np.bool_)
    rows = {each: np.flatnonzero(known & (codes == texts.index(each))) for each in PHASES if each in texts}
    return {each: breakdown_of_columns(columns.where(own)) for each, own in rows.items() if len(own)}

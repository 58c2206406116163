"""What a run folder says of a GPU: TTFT by stage, kernels by family, phase and layer, idle time, overhead."""

import statistics
from typing import Any

import msgspec

from vlmprof.analysis.kernel_comparison import compare_layers
from vlmprof.analysis.kernel_phases import breakdown_by_phase
from vlmprof.analysis.kernels import KernelBreakdown
from vlmprof.model.gpu_result import GpuResult, read_gpu_result
from vlmprof.model.request import Phase
from vlmprof.model.results import SummaryResult, read_summary
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.table_io import read_table
from vlmprof.units import NS_PER_MS, NS_PER_S, NS_PER_US

Figures = dict[str, Any]


def figures_of(folder: RunFolder) -> Figures:
    """One arm: an engine with a model in one precision."""
    info, summary, gpu = folder.read_info(), read_summary(folder), _gpu(folder)
    return {
        "ttft_ms": _ttft(summary),
        "stages": _stages(summary, gpu),
        "unattributed_worst_share": summary.unattributed_worst_share,
        "decode_tokens_per_s": _decode_rate(folder),
        "profiled_against_control": msgspec.to_builtins(info.overhead),
        "clocks_us": {
            clock.source: clock.uncertainty_ns / NS_PER_US for clock in info.clocks if clock.source != "spans"
        },
        "gpu": _of_gpu(gpu) if gpu else None,
        "phases": {phase: _kernels(found) for phase, found in phases_of(folder).items()},
        "warnings": info.all_warnings,
    }


def phases_of(folder: RunFolder) -> dict[str, KernelBreakdown]:
    """The kernels of the vision encoder, of prefills and of decode steps; none where no GPU was recorded."""
    kernels = read_table(folder, "gpu_kernels")
    return breakdown_by_phase(kernels, read_table(folder, "gpu_attribution")) if kernels.num_rows else {}


def layers_beside(first: RunFolder, second: RunFolder) -> Figures:
    """A layer of each phase in both runs, kernel by kernel; only phases in which both have layers."""
    one, other = phases_of(first), phases_of(second)
    found = {}
    for phase in one.keys() & other.keys():
        layers = one[phase].layer, other[phase].layer
        if layers[0] and layers[1]:
            compared = compare_layers(layers[0], layers[1])
            found[phase] = {
                "layers": [layer.layers for layer in layers if layer],
                "mean_us": [layer.mean_ns / NS_PER_US for layer in layers if layer],
                "spread_us": [layer.spread_ns / NS_PER_US for layer in layers if layer],
                "balance_us": compared.balance_ns / NS_PER_US,
                "parts": [
                    {"part": each.part, "us": [each.first_ns / NS_PER_US, each.second_ns / NS_PER_US]}
                    for each in compared.parts
                ],
                "kernels": [
                    {
                        "name": each.name,
                        "family": each.family,
                        "counts": each.counts,
                        "us": [time_ns / NS_PER_US for time_ns in each.times_ns],
                    }
                    for each in compared.kernels
                ],
            }
    return {phase: found[phase] for phase in ("vision", "prefill", "decode") if phase in found}


def _gpu(folder: RunFolder) -> GpuResult | None:
    return read_gpu_result(folder) if (folder.results / "gpu.json").exists() else None


def _ttft(summary: SummaryResult) -> Figures:
    return {
        name: {"requests": stats.requests, "p50": stats.p50_ns / NS_PER_MS, "p90": stats.p90_ns / NS_PER_MS}
        for name, stats in (("control", summary.control), ("profiled", summary.profiled))
        if stats is not None
    }


def _stages(summary: SummaryResult, gpu: GpuResult | None) -> list[Figures]:
    """By the GPU's own times of the profiled requests, where it was recorded; else by the host's spans."""
    stages = gpu.stages if gpu and gpu.stages else summary.stages
    return [
        {
            "stage": each.stage,
            "label": each.label,
            "median_ms": each.median_ns / NS_PER_MS,
            "share": each.share,
        }
        for each in stages
    ]


def _decode_rate(folder: RunFolder) -> float | None:
    """Median over control requests of the tokens after the first, per second."""
    columns = ["phase", "first_token_ns", "done_ns", "output_tokens"]
    rates = [
        (row["output_tokens"] - 1) * NS_PER_S / (row["done_ns"] - row["first_token_ns"])
        for row in read_table(folder, "requests").select(columns).to_pylist()
        if row["phase"] == Phase.CONTROL and row["output_tokens"] > 1 and row["done_ns"] is not None
    ]
    return statistics.median(rates) if rates else None


def _of_gpu(gpu: GpuResult) -> Figures:
    return {
        "kernels": gpu.kernels,
        "kernel_ms": gpu.kernel_ns / NS_PER_MS,
        "attributed": msgspec.to_builtins(gpu.attributed),
        "devices": [msgspec.to_builtins(each) for each in gpu.devices],
        "copies": [{**msgspec.to_builtins(each), "bytes_per_s": each.bytes_per_s} for each in gpu.copies],
    }


def _kernels(found: KernelBreakdown) -> Figures:
    layer = found.layer
    return {
        "kernels": found.kernels,
        "total_ms": found.total_ns / NS_PER_MS,
        "families": [
            {"family": each.family, "kernels": each.kernels, "total_ms": each.total_ns / NS_PER_MS}
            for each in found.families
        ],
        "layer": None
        if layer is None
        else {
            "layers": layer.layers,
            "kernels": len(layer.names),
            "mean_us": layer.mean_ns / NS_PER_US,
            "spread_us": layer.spread_ns / NS_PER_US,
            "family_us": {name: time_ns / NS_PER_US for name, time_ns in layer.family_ns.items()},
        },
    }

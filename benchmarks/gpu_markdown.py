"""The figures of `benchmarks/gpu.py` as Markdown."""

from collections.abc import Iterator, Sequence
from typing import Any

_KERNELS_SHOWN = 16
_NAME_CHARS = 70
_ABSENT = "–"


def markdown(figures: dict[str, Any]) -> str:
    """A summary of all arms, then each arm, then bfloat16 beside FP8."""
    lines = ["# On a GPU", "", *_circumstances(figures), "", *_summary(figures["arms"])]
    for arm in figures["arms"]:
        lines += ["", *_arm(arm)]
    for pair in figures["fp8"]:
        lines += ["", *_beside(pair)]
    for note in figures["notes"]:
        lines += ["", f"Left out: {note}."]
    return "\n".join(lines)


def _circumstances(figures: dict[str, Any]) -> Iterator[str]:
    workload = figures["workload"]
    yield (
        f"{figures['device']}. Random weights in the models' {figures['scale']} size; {workload['image']} images "
        f"and prompts, each another, one request at a time, {workload['max_tokens']} tokens an answer. "
        f"{workload['rounds']} blocks of {workload['per_block']} requests without the profiler (control) alternate "
        "with as many under it (profiled)."
    )


def _summary(arms: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield from _head(
        "model",
        "engine",
        "weights",
        "TTFT p50, control",
        "p90",
        "profiled / control [95%]",
        "decode, tokens/s",
        "GPU busy",
        "kernels with their stage",
    )
    for arm in arms:
        ttft, gpu = arm["ttft_ms"].get("control", {}), arm["gpu"]
        cells = [
            f"{ttft['p50']:.1f} ms" if ttft else _ABSENT,
            f"{ttft['p90']:.1f} ms" if ttft else _ABSENT,
            _interval(arm["profiled_against_control"]),
            _number(arm["decode_tokens_per_s"], "{:.1f}"),
            ", ".join(_share(each["busy_ns"], each["window_ns"]) for each in gpu["devices"])
            if gpu
            else _ABSENT,
            _share(gpu["attributed"]["with_stage"], gpu["attributed"]["work"]) if gpu else _ABSENT,
        ]
        yield _row(arm["model"], arm["engine"], arm["precision"], *cells)


def _arm(arm: dict[str, Any]) -> Iterator[str]:
    """Stages, idle time, copies from the host, kernels by phase."""
    yield f"## {arm['model']}, {arm['engine']}, {arm['precision']}"
    yield ""
    by = "the GPU's own times, profiled requests" if arm["gpu"] else "the host's spans, control requests"
    yield from _head(f"stage, by {by}", "median", "share of TTFT")
    for each in arm["stages"]:
        if each["share"] >= 0.0005:
            yield _row(each["label"], f"{each['median_ms']:.2f} ms", f"{each['share']:.1%}")
    if arm["gpu"]:
        yield from ("", *_devices(arm["gpu"]["devices"]), "", *_copies(arm["gpu"]["copies"]))
    if arm["phases"]:
        yield from ("", *_families(arm["phases"]))


def _devices(devices: Sequence[dict[str, Any]]) -> Iterator[str]:
    causes = {
        "busy_ns": "busy",
        "idle_h2d_ns": "waits for H2D",
        "idle_queue_ns": "in a queue",
        "idle_launch_ns": "for the CPU's launch",
        "idle_no_work_ns": "no work",
    }
    yield from _head("GPU", *causes.values())
    for each in devices:
        yield _row(str(each["device"]), *(_share(each[name], each["window_ns"]) for name in causes))


def _copies(copies: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield from _head("copies", "host memory", "number", "MB", "GB/s")
    memory = {True: "pinned", False: "pageable", None: _ABSENT}
    for each in copies:
        yield _row(
            f"{each['stage'] or _ABSENT} {each['phase']} {each['kind']}",
            memory[each["pinned"]],
            f"{each['copies']:,}",
            f"{each['size_bytes'] / 1e6:.2f}",
            f"{each['bytes_per_s'] / 1e9:.2f}",
        )


def _families(phases: dict[str, Any]) -> Iterator[str]:
    """A row per family: time in each phase, and in one of its layers."""
    yield from _head("kernels", *(f"{phase}, ms (a layer, us)" for phase in phases))
    totals = [{each["family"]: each["total_ms"] for each in found["families"]} for found in phases.values()]
    layers = [(found["layer"] or {}).get("family_us", {}) for found in phases.values()]
    for family in sorted({name for each in totals for name in each}, key=lambda name: -_sum_of(totals, name)):
        yield _row(
            family,
            *(
                _with_layer(total.get(family), layer.get(family))
                for total, layer in zip(totals, layers, strict=True)
            ),
        )
    found_layers = [found["layer"] for found in phases.values()]
    yield _row(
        "all",
        *(
            _with_layer(found["total_ms"], layer["mean_us"] if layer else None)
            for found, layer in zip(phases.values(), found_layers, strict=True)
        ),
    )
    yield _row(
        "layers found, kernels in one",
        *(f"{layer['layers']:,}, {layer['kernels']}" if layer else _ABSENT for layer in found_layers),
    )


def _beside(pair: dict[str, Any]) -> Iterator[str]:
    yield f"## {pair['model']}, {pair['engine']}: a layer in bfloat16 and in FP8 W8A8"
    for phase, found in pair["phases"].items():
        first, second = found["mean_us"]
        yield ""
        yield f"In {phase}: {first:.2f} us in bfloat16, {second:.2f} us in FP8 ({found['balance_us']:+.2f} us)."
        yield ""
        yield from _head("part of the layer", "bfloat16, us", "FP8, us", "difference", "ratio")
        for each in found["parts"]:
            one, other = each["us"]
            ratio = f"{one / other:.2f}x" if one and other else _ABSENT
            yield _row(each["part"], f"{one:.2f}", f"{other:.2f}", f"{other - one:+.2f}", ratio)
        yield ""
        yield from _head("kernel", "family", "bfloat16", "FP8")
        for each in found["kernels"][:_KERNELS_SHOWN]:
            times = (
                f"{count} x {time_us / count:.2f} us" if count else _ABSENT
                for count, time_us in zip(each["counts"], each["us"], strict=True)
            )
            yield _row(f"`{_short(each['name'])}`", each["family"], *times)


def _head(*columns: str) -> Iterator[str]:
    yield _row(*columns)
    yield f"|{'---|' * len(columns)}"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else _ABSENT


def _number(value: float | None, form: str) -> str:
    return _ABSENT if value is None else form.format(value)


def _interval(ratio: dict[str, Any] | None) -> str:
    return f"{ratio['ratio']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]" if ratio else _ABSENT


def _sum_of(totals: Sequence[dict[str, float]], family: str) -> float:
    return sum(each.get(family, 0.0) for each in totals)


def _with_layer(total_ms: float | None, layer_us: float | None) -> str:
    if total_ms is None:
        return _ABSENT
    return f"{total_ms:.2f} ({layer_us:.2f})" if layer_us is not None else f"{total_ms:.2f}"


def _short(name: str) -> str:
    """A template's name without its arguments' end; a bar would end the cell."""
    plain = name.replace("|", "/").replace("`", "'").removeprefix("void ").replace("at::native::", "")
    return plain if len(plain) <= _NAME_CHARS else plain[: _NAME_CHARS - 1] + "…"

"""What the run report costs: to write, to open, to move in; a large capture, a usual one, and speedscope beside it.

    python -m benchmarks.report_scale [--millions 1] [--times 5] [--speedscope DIR]

The large run has so many million samples, spans, kernels and launches each, the usual one a tenth of it, which is
about what 40 requests leave. The report is rendered in a fresh process and opened from disk in a fresh Chromium, so
many times, of which the medians are told; speedscope gets the same samples as its own JSON, the way its command
line hands a file over. DIR is where `npm install speedscope` was run (default `.cache/speedscope`); without it that
part is left out.
"""

import argparse
import base64
import dataclasses
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SPEEDSCOPE = Path(".cache/speedscope")
_FRAMES = {"zoom_median_ms": 16, "zoom_p95_ms": 33, "pan_median_ms": 16, "pan_p95_ms": 33}
TARGETS: dict[str, dict[str, float]] = {
    "large": {
        "file_bytes": 15e6,
        "render_s": 60,
        "peak_rss_bytes": 3e9,
        "first_paint_ms": 2000,
        "interactive_ms": 3000,
        **_FRAMES,
        "renderer_bytes": 600e6,
    },
    "usual": {"file_bytes": 6e6, "render_s": 10, "interactive_ms": 1000, **_FRAMES},
}
"""What the report must stay below."""
_ROWS = (
    ("file", "file_bytes", "{:.1f} MB", 1e6),
    ("rendering", "render_s", "{:.1f} s", 1),
    ("rendering, peak memory", "peak_rss_bytes", "{:.2f} GB", 1e9),
    ("first contentful paint", "first_paint_ms", "{:.2f} s", 1e3),
    ("shows its data", "ready_ms", "{:.2f} s", 1e3),
    ("interactive", "interactive_ms", "{:.2f} s", 1e3),
    ("zoom, median frame", "zoom_median_ms", "{:.1f} ms", 1),
    ("zoom, 95th percentile", "zoom_p95_ms", "{:.1f} ms", 1),
    ("pan, median frame", "pan_median_ms", "{:.1f} ms", 1),
    ("pan, 95th percentile", "pan_p95_ms", "{:.1f} ms", 1),
    ("script heap", "script_heap_bytes", "{:.0f} MB", 1e6),
    ("memory of the page's process", "renderer_bytes", "{:.0f} MB", 1e6),
    ("memory of the whole browser", "browser_bytes", "{:.0f} MB", 1e6),
)


def measure_rendering(run: Path) -> dict[str, Any]:
    """Render a run's report in this process, which did nothing before."""
    from vlmprof.model.run_folder import RunFolder
    from vlmprof_reports.run import render

    folder = RunFolder(run)
    begin = time.perf_counter()
    folder.report.write_text(render(folder), encoding="utf-8")
    return {
        "render_s": time.perf_counter() - begin,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "file_bytes": folder.report.stat().st_size,
    }


def measure_report(run: Path, millions: float, times: int) -> dict[str, Any]:
    """Write a run, render its report in a fresh process, open it."""
    from benchmarks.large_run import write_large_run
    from benchmarks.report_browser import OURS, measure_page

    folder = write_large_run(run, millions)
    command = [sys.executable, "-m", "benchmarks.report_scale", "--render", str(run)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    figures: dict[str, Any] = json.loads(done.stdout)
    return {"millions": millions, **figures, **measure_page(folder.report.as_uri(), OURS, times)}


def measure_speedscope(run: Path, package: Path, times: int) -> dict[str, Any]:
    """Open the samples of a run in speedscope, as `npx speedscope FILE` does."""
    from benchmarks.report_browser import SPEEDSCOPE as VIEWER
    from benchmarks.report_browser import measure_page
    from vlmprof.export.speedscope import write_speedscope
    from vlmprof.export.timeline import read_timeline
    from vlmprof.model.run_folder import RunFolder

    timeline = read_timeline(RunFolder(run))
    samples_alone = dataclasses.replace(timeline, gpu_kernels=timeline.gpu_kernels.slice(0, 0))
    profile, script = run / "samples.speedscope.json", run / "samples.js"
    write_speedscope(samples_alone, profile)
    packed = base64.b64encode(profile.read_bytes()).decode()
    script.write_text(f"speedscope.loadFileFromBase64({json.dumps(profile.name)}, {json.dumps(packed)})")
    page = (package / "node_modules/speedscope/dist/release/index.html").resolve()
    version = json.loads((package / "node_modules/speedscope/package.json").read_text())["version"]
    return {
        "version": version,
        "file_bytes": profile.stat().st_size,
        **measure_page(f"{page.as_uri()}#localProfilePath={script}", VIEWER, times),
    }


def markdown(large: dict[str, Any], usual: dict[str, Any], speedscope: dict[str, Any] | None) -> str:
    """A row per figure; a column per page, with the targets of ours beside them."""
    columns = [
        (f"report, {large['millions']:g} M of each", _cells(large)),
        ("target", _cells(TARGETS["large"], "< ")),
        (f"report, {usual['millions']:g} M", _cells(usual)),
        ("target", _cells(TARGETS["usual"], "< ")),
    ]
    if speedscope:
        title = f"speedscope {speedscope['version']}, the same {large['millions']:g} M samples"
        columns.append((title, _cells(speedscope)))
    lines = [
        "# The run report at scale",
        "",
        f"M of each: million samples, spans, kernels and CUDA calls. {large['browser']} without a screen or a GPU, "
        "1280 x 800, medians of several fresh starts. A frame is the time from one to the next, uncapped, with a "
        "turn of the wheel in each; interactive is when the data is shown and the last long task has ended. "
        "speedscope draws with WebGL, which is SwiftShader here, in a process of its own; the report needs none.",
        "",
        f"| | {' | '.join(title for title, _ in columns)} |",
        f"|{'---|' * (len(columns) + 1)}",
    ]
    for number, (title, *_) in enumerate(_ROWS):
        lines.append(f"| {title} | {' | '.join(cells[number] for _, cells in columns)} |")
    return "\n".join([*lines, "", verdict(large, usual, speedscope)])


def _cells(figures: dict[str, Any], sign: str = "") -> list[str]:
    return [sign + text.format(figures[key] / unit) if key in figures else "" for _, key, text, unit in _ROWS]


def missed(figures: dict[str, Any], targets: dict[str, float]) -> list[str]:
    """Titles of the figures that are not below their targets."""
    return [title for title, key, *_ in _ROWS if key in targets and figures[key] >= targets[key]]


def verdict(large: dict[str, Any], usual: dict[str, Any], speedscope: dict[str, Any] | None) -> str:
    """Which targets are missed, and whether the report is ahead of speedscope."""
    over = [f"large: {title}" for title in missed(large, TARGETS["large"])]
    over += [f"usual: {title}" for title in missed(usual, TARGETS["usual"])]
    text = f"Targets missed: {', '.join(over)}." if over else "Every target is met."
    if not speedscope:
        return text
    compared = ("first_paint_ms", "ready_ms", "interactive_ms", "script_heap_bytes", "browser_bytes")
    behind = missed(large, {key: speedscope[key] for key in (*compared, "renderer_bytes")})
    standing = (
        f"Behind speedscope: {', '.join(behind)}."
        if behind
        else "Ahead of speedscope in load time and memory."
    )
    return f"{text} {standing}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--millions", type=float, default=1.0)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--speedscope", type=Path, default=SPEEDSCOPE)
    parser.add_argument("--render", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.render:
        print(json.dumps(measure_rendering(arguments.render)))
        return
    from benchmarks.record import write_results

    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as place:
        large = measure_report(Path(place, "large"), arguments.millions, arguments.times)
        usual = measure_report(Path(place, "usual"), arguments.millions / 10, arguments.times)
        there = (arguments.speedscope / "node_modules/speedscope").exists()
        speedscope = (
            measure_speedscope(Path(place, "large"), arguments.speedscope, arguments.times) if there else None
        )
    load = [before, os.getloadavg()[0]]
    figures = {"targets": TARGETS, "load": load, "large": large, "usual": usual, "speedscope": speedscope}
    busy = f"Load average of {os.cpu_count()} cores before and after: {load[0]:.1f}, {load[1]:.1f}."
    text = f"{markdown(large, usual, speedscope)}\n\n{busy}"
    write_results("report_scale", figures, text)


if __name__ == "__main__":
    main()

"""How long, and in how much memory, a ten-minute MOJO capture at 1 ms becomes tables.

    python benchmarks/mojo_scale.py [--samples 7000000]

Writes a synthetic MOJO 3 file of a served model's shape (4 processes of 5 threads: one busy with deep, changing
stacks, one half busy, three waiting), then reads it, makes the tables and writes them as Parquet, each time in
a fresh process: once with an empty cache of compiled code, then with a warm one.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import psutil

RESULTS = Path(__file__).parent / "results" / "mojo_scale.json"
TARGET_S, TARGET_BYTES = 20, 2e9

PIDS = (4100, 4101, 4102, 4103)
FUNCTIONS, FILES = 1500, 150
DISTINCT_STACKS = 5000  # per process
ROUND_ROWS = 20_000


def varint(number: int) -> bytes:
    """MOJO's integers: 6 bits in the first byte, 7 in each further one."""
    first, number = number & 0x3F, number >> 6
    encoded = [first | (0x80 if number else 0)]
    while number:
        low, number = number & 0x7F, number >> 7
        encoded.append(low | (0x80 if number else 0))
    return bytes(encoded)


def frame_key(frame: int) -> int:
    """As long as austin's, which are addresses of code shifted by 16 bits."""
    return (0x7F0000000 + 977 * frame) << 16 | frame & 0xFF


class ProcessModel:
    """One served process: its symbols, its stacks as bytes, and the state of its threads."""

    def __init__(self, pid: int, random: np.random.Generator) -> None:
        self.pid = pid
        self._random = random
        self.deep = [self._stack(int(random.integers(22, 39))) for _ in range(DISTINCT_STACKS)]
        self.waiting = [self._stack(int(random.integers(4, 9))) for _ in range(5)]
        weights = 1 / np.arange(1, DISTINCT_STACKS + 1) ** 0.8
        self._weights = weights / weights.sum()
        self.headers = [
            b"\x02"
            + varint(pid)
            + varint(0)
            + f"{pid + (0 if thread == 4 else 10 + thread):x}".encode()
            + b"\0"
            for thread in range(5)
        ]

    def definitions(self) -> bytes:
        """STRING and FRAME events for every symbol; austin writes them as they come up."""
        parts = []
        for number in range(FUNCTIONS):
            parts.append(b"\x0b" + varint(10_000 + number) + f"Module.function_{number}".encode() + b"\0")
        for number in range(FILES):
            path = f"/usr/lib/python3.11/site-packages/served/module_{number}.py"
            parts.append(b"\x0b" + varint(20_000 + number) + path.encode() + b"\0")
        for frame in range(4 * FUNCTIONS):
            numbers = (
                frame_key(frame),
                20_000 + frame % FILES,
                10_000 + frame % FUNCTIONS,
                1 + frame % 900,
                0,
                0,
                0,
            )
            parts.append(b"\x03" + b"".join(map(varint, numbers)))
        return b"".join(parts)

    def _stack(self, depth: int) -> bytes:
        frames = self._random.integers(0, 4 * FUNCTIONS, depth)
        return b"".join(b"\x05" + varint(frame_key(int(frame))) for frame in frames)

    def deep_choice(self, count: int) -> list[int]:
        chosen: list[int] = self._random.choice(DISTINCT_STACKS, count, p=self._weights).tolist()
        return chosen


def rows(models: list[ProcessModel], samples: int, random: np.random.Generator) -> Iterator[bytes]:
    """The file's samples in blocks: every round samples each process, its main thread last."""
    metrics = [b"\x09" + varint(int(us)) for us in np.clip(random.normal(1080, 60, 997), 60, 5000)]
    rounds = samples // (5 * len(models))
    for begin in range(0, rounds, ROUND_ROWS):
        count = min(ROUND_ROWS, rounds - begin)
        choices = [(model.deep_choice(count), model.deep_choice(count)) for model in models]
        half = random.random((len(models), count)) < 0.5
        block: list[bytes] = []
        for number in range(count):
            metric = metrics[(begin + number) % len(metrics)]
            for model, (busy, other), is_busy in zip(models, choices, half[:, number].tolist(), strict=True):
                for thread in range(3):
                    block += (model.headers[thread], model.waiting[thread], metric)
                block += (
                    model.headers[3],
                    model.deep[other[number]] if is_busy else model.waiting[3],
                    metric,
                )
                block += (model.headers[4], model.deep[busy[number]], metric)
        yield b"".join(block)


def write_capture(path: Path, samples: int) -> None:
    random = np.random.default_rng(11)
    models = [ProcessModel(pid, random) for pid in PIDS]
    with path.open("wb") as file:
        file.write(b"MOJ\x03\x01austin\x003.7.0\x00\x01interval\x001000\x00\x01mode\x00wall\x00")
        for model in models:
            file.write(model.headers[4] + model.definitions() + model.waiting[4] + b"\x09" + varint(1000))
        for block in rows(models, samples, random):
            file.write(block)


def measure(path: Path, out: Path) -> dict[str, Any]:
    """Read, make tables, write Parquet; runs in a process of its own."""
    import resource

    begin = time.perf_counter()
    from vlmprof.model.clock import ClockMap
    from vlmprof.model.run_folder import RunFolder
    from vlmprof.model.table_io import write_table
    from vlmprof.read.mojo import read_mojo
    from vlmprof.read.mojo_tables import mojo_tables

    imported = time.perf_counter()
    capture = read_mojo(path)
    read = time.perf_counter()
    clocks = {pid: ClockMap(f"austin:{pid}", 10**12 + 1000 * pid) for pid in capture.pids}
    tables = dict(zip(("samples", "stacks", "frames"), mojo_tables(capture, clocks), strict=True))
    made = time.perf_counter()
    folder = RunFolder.create(out)
    sizes = {name: write_table(folder, name, table).stat().st_size for name, table in tables.items()}
    written = time.perf_counter()
    return {
        "import_s": imported - begin,
        "read_s": read - imported,
        "tables_s": made - read,
        "parquet_s": written - made,
        "total_s": written - begin,
        "processor_s": time.process_time(),
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "samples": tables["samples"].num_rows,
        "stacks": tables["stacks"].num_rows,
        "frames": tables["frames"].num_rows,
        "parquet_bytes": sizes,
    }


def measure_apart(path: Path, out: Path, cache: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--measure", str(path), str(out)]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def hardware() -> dict[str, Any]:
    models = [
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
    ]
    return {
        "cpu": models[0].partition(":")[2].strip() if models else platform.processor(),
        "cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "load_average": os.getloadavg()[0],
    }


def markdown(report: dict[str, Any]) -> str:
    lines = [
        "| compiled code | import | read | tables | Parquet | total | processor time | peak memory |",
        f"|{'---|' * 8}",
    ]
    for name, run in report["runs"].items():
        seconds = [
            f"{run[key]:.1f} s"
            for key in ("import_s", "read_s", "tables_s", "parquet_s", "total_s", "processor_s")
        ]
        lines.append(f"| {name} | {' | '.join(seconds)} | {run['peak_rss_bytes'] / 1e9:.2f} GB |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=7_000_000)
    parser.add_argument("--measure", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(*arguments.measure)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path, cache = Path(folder, "austin.mojo"), Path(folder, "cache")
        write_capture(path, arguments.samples)
        report: dict[str, Any] = {
            "date": datetime.now(UTC).date().isoformat(),
            "hardware": hardware(),
            "versions": {
                "python": platform.python_version(),
                **{name: version(name) for name in ("vlmprof", "numba", "numpy", "pyarrow")},
            },
            "file_bytes": path.stat().st_size,
            "target": {"total_s": TARGET_S, "peak_rss_bytes": TARGET_BYTES},
            "runs": {
                name: measure_apart(path, Path(folder, f"run_{number}"), cache)
                for number, name in enumerate(("cold", "warm", "warm again"))
            },
        }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=1) + "\n")
    print(f"{report['runs']['warm']['samples']:,} samples, {report['file_bytes'] / 1e6:.0f} MB\n")
    print(markdown(report))


if __name__ == "__main__":
    main()

"""Which functions a process spent its sampled time in, with pandas: the tables are ordinary Parquet.

python examples/samples_to_pandas.py runs/demo [--role worker]
"""

import argparse
from pathlib import Path

import pandas as pd


def self_time_ms(run: Path, role: str) -> "pd.Series[float]":
    """Sampled self time by function, ms, longest first."""
    tables = {
        name: pd.read_parquet(run / "tables" / f"{name}.parquet")
        for name in ("samples", "stacks", "frames", "processes")
    }
    processes = tables["processes"]
    pids = processes.loc[processes["role"] == role, "pid"]
    samples = tables["samples"][tables["samples"]["pid"].isin(pids)]
    # A stack's frames go from the root to the leaf: the leaf is what was running.
    leaf = (
        tables["stacks"]
        .set_index("stack_id")["frame_ids"]
        .map(lambda frames: frames[-1] if len(frames) else -1)
    )
    function = tables["frames"].set_index("frame_id")["function"]
    names = samples["stack_id"].map(leaf).map(function)
    time_ms: pd.Series[float] = samples["duration_ns"].groupby(names).sum() / 1e6
    return time_ms.sort_values(ascending=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--role", default="worker", help="api_server, engine_core or worker")
    options = parser.parse_args()
    print(
        self_time_ms(options.run, options.role)
        .head(15)
        .to_string(float_format=lambda value: f"{value:.1f} ms")
    )


if __name__ == "__main__":
    main()

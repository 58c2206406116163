"""The engine's own cache counters, to show that no cache flattered the result."""

import re

import httpx

_COUNTERS = (
    "vllm:mm_cache_queries_total",
    "vllm:mm_cache_hits_total",
    "vllm:prefix_cache_queries_total",
    "vllm:prefix_cache_hits_total",
    "vllm:num_preemptions_total",
)
_LINE = re.compile(r"^(?P<name>[\w:]+)(?:\{[^}]*\})? (?P<value>\S+)$", re.MULTILINE)


def read_counters(url: str) -> dict[str, float]:
    """Sums of the cache counters over the engine's labels; empty where `/metrics` does not answer."""
    try:
        with httpx.Client(trust_env=False, timeout=5.0) as client:
            text = client.get(f"{url}/metrics").raise_for_status().text
    except httpx.HTTPError:
        return {}
    return parse_counters(text)


def parse_counters(text: str) -> dict[str, float]:
    """Counters out of a text in Prometheus's exposition format, without `vllm:` and `_total`."""
    sums: dict[str, float] = {}
    for line in _LINE.finditer(text):
        if line["name"] in _COUNTERS:
            name = line["name"].removeprefix("vllm:").removesuffix("_total")
            sums[name] = sums.get(name, 0.0) + float(line["value"])
    return sums


def difference(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """How much each counter grew."""
    return {name: value - before.get(name, 0.0) for name, value in after.items()}

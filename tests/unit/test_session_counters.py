"""The engine's cache counters, read from a text as its /metrics gives it."""

import http.server
import threading
from collections.abc import Iterator

import pytest

from vlmprof.session.counters import difference, parse_counters, read_counters

_METRICS = """\
# HELP python_gc_objects_collected_total Objects collected during gc
# TYPE python_gc_objects_collected_total counter
python_gc_objects_collected_total{generation="0"} 13092.0
# HELP vllm:num_preemptions_total Cumulative number of preemption from the engine.
# TYPE vllm:num_preemptions_total counter
vllm:num_preemptions_total{engine="0",model_name="a b"} 0.0
# HELP vllm:prefix_cache_queries_total Prefix cache queries, in terms of number of queried tokens.
# TYPE vllm:prefix_cache_queries_total counter
vllm:prefix_cache_queries_total{engine="0",model_name="m"} 3.916e+04
vllm:prefix_cache_queries_total{engine="1",model_name="m"} 40.0
# TYPE vllm:prefix_cache_queries_created gauge
vllm:prefix_cache_queries_created{engine="0",model_name="m"} 1.7e+09
vllm:prefix_cache_hits_total{engine="0",model_name="m"} 16.0
vllm:mm_cache_queries_total{engine="0",model_name="m"} 44.0
vllm:mm_cache_hits_total 2.0
vllm:external_prefix_cache_hits_total{engine="0",model_name="m"} 99.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.001",model_name="m"} 7.0
"""

_SUMS = {
    "num_preemptions": 0.0,
    "prefix_cache_queries": 39_200.0,
    "prefix_cache_hits": 16.0,
    "mm_cache_queries": 44.0,
    "mm_cache_hits": 2.0,
}


def test_counters_are_summed_over_the_engines() -> None:
    """39 160 of engine 0 and 40 of engine 1 are 39 200; comments, times of creation and others are passed over."""
    assert parse_counters(_METRICS) == _SUMS


def test_a_text_without_counters_has_none() -> None:
    """An engine that names its metrics differently."""
    assert parse_counters("# nothing\nprocess_cpu_seconds_total 3.5\n") == {}


def test_the_difference_is_what_the_run_added() -> None:
    """44 - 4 = 40; a counter that appeared in between began at 0."""
    before = {"mm_cache_queries": 4.0}
    assert difference(before, {"mm_cache_queries": 44.0, "mm_cache_hits": 2.0}) == {
        "mm_cache_queries": 40.0,
        "mm_cache_hits": 2.0,
    }


class _Metrics(http.server.BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(_METRICS.encode())

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def url() -> Iterator[str]:
    with http.server.HTTPServer(("127.0.0.1", 0), _Metrics) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_counters_are_read_from_a_server(url: str) -> None:
    """The same text over HTTP."""
    assert read_counters(url) == _SUMS


def test_a_server_without_metrics_has_no_counters(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """404, or nobody there: the run goes on without them."""
    monkeypatch.setattr(_Metrics, "status", 404)
    assert read_counters(url) == {}
    assert read_counters("http://127.0.0.1:1") == {}

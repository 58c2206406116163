"""The cause of a failed start, out of logs as vLLM writes them."""

from pathlib import Path

import pytest

from vlmprof.engines.log import failure_cause, last_activity, remedy, tail_lines, without_prefix

_ARGUMENT = """\
usage: api_server.py [-h] [--headless] [--api-server-count API_SERVER_COUNT]
                     [--config CONFIG] [model_tag]
api_server.py: error: unrecognized arguments: --max-modle-len 8192
"""

_OUT_OF_MEMORY = """\
(APIServer pid=71) INFO 11-20 20:07:16 [api_utils.py:286] non-default args: {'model': 'm'}
(EngineCore pid=72) ERROR 11-20 20:08:02 [core.py:1092] EngineCore failed to start.
(EngineCore pid=72) ERROR 11-20 20:08:02 [core.py:1092] Traceback (most recent call last):
(EngineCore pid=72) ERROR 11-20 20:08:02 [core.py:1092]   File "/v/vllm/v1/engine/core.py", line 1083, in run
(EngineCore pid=72) ERROR 11-20 20:08:02 [core.py:1092]     engine_core = EngineCoreProc(*args, **kwargs)
(EngineCore pid=72) ERROR 11-20 20:08:02 [core.py:1092] torch.OutOfMemoryError: CUDA out of memory. Tried to \
allocate 2.00 GiB.
(EngineCore pid=72) Process EngineCore:
(EngineCore pid=72) Traceback (most recent call last):
(EngineCore pid=72) torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.
(APIServer pid=71) Traceback (most recent call last):
(APIServer pid=71)   File "/v/vllm/v1/engine/utils.py", line 921, in wait_for_engine_startup
(APIServer pid=71) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
"""

_TOO_LONG = """\
(EngineCore pid=72) ERROR 11-20 20:08:02 [core.py:1092] ValueError: To serve at least one request with the \
model's max seq len (8192), 4.00 GiB KV cache is needed.
(APIServer pid=71) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
"""

_NO_REPOSITORY = """\
(APIServer pid=71) Traceback (most recent call last):
(APIServer pid=71) huggingface_hub.errors.RepositoryNotFoundError: 404 Client Error. (Request ID: Root=1-2)
(APIServer pid=71)
(APIServer pid=71) Repository Not Found for url: (the hub).
(APIServer pid=71) Please make sure you specified the correct `repo_id` and `repo_type`.
(APIServer pid=71)
(APIServer pid=71) The above exception was the direct cause of the following exception:
(APIServer pid=71)
(APIServer pid=71) OSError: nobody/nothing is not a local folder and is not a valid model identifier
"""

_WORKER = """\
(Worker_TP1 pid=73) ERROR 11-20 20:08:02 [multiproc_executor.py:743] WorkerProc failed to start.
(Worker_TP1 pid=73) ERROR 11-20 20:08:02 [multiproc_executor.py:743] ImportError: libcudart.so.12: cannot open
(EngineCore pid=72) ERROR 11-20 20:08:02 [core.py:1092] Exception: WorkerProc initialization failed due to an \
exception in a background process.
(APIServer pid=71) RuntimeError: Engine core initialization failed. See root cause above.
"""

_VALIDATION = """\
(APIServer pid=71) Traceback (most recent call last):
(APIServer pid=71) pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig
(APIServer pid=71)   Value error, User-specified max_model_len (9) is too great. [type=value_error, input=Args()]
(APIServer pid=71)     For further information see the manual
"""


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (_ARGUMENT, "api_server.py: error: unrecognized arguments: --max-modle-len 8192"),
        (_OUT_OF_MEMORY, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."),
        (
            _TOO_LONG,
            "ValueError: To serve at least one request with the model's max seq len (8192), "
            "4.00 GiB KV cache is needed.",
        ),
        (_NO_REPOSITORY, "OSError: nobody/nothing is not a local folder and is not a valid model identifier"),
        (
            _VALIDATION,
            "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig: "
            "Value error, User-specified max_model_len (9) is too great.",
        ),
        (_WORKER, "ImportError: libcudart.so.12: cannot open"),
        ("Loading weights:  50%\nKilled\n", "Killed"),
        ("INFO 11-20 20:07:16 [a.py:1] one\nthe last thing it said\n\n", "the last thing it said"),
        ("", ""),
        (
            "(APIServer pid=71) RuntimeError: Engine core initialization failed. See root cause above.\n",
            "RuntimeError: Engine core initialization failed. See root cause above.",
        ),
    ],
    ids=[
        "argument",
        "memory",
        "too long",
        "hub",
        "validation",
        "worker",
        "killed",
        "silent",
        "empty",
        "only consequence",
    ],
)
def test_the_cause_is_the_last_error_that_is_no_consequence(text: str, cause: str, tmp_path: Path) -> None:
    """Each process ends with a sentence about the other's failure; the first-hand one is wanted."""
    log = tmp_path / "server.log"
    log.write_text(text)
    assert failure_cause(log) == cause


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("(EngineCore pid=7) ERROR 11-20 19:01:02 [core.py:9] ValueError: x", "ValueError: x"),
        ("(EngineCore_DP0 pid=7) Traceback (most recent call last):", "Traceback (most recent call last):"),
        ("INFO 11-20 19:01:02 [model.py:733] Resolved architecture", "Resolved architecture"),
        ("[transformers] Model config: pad_token_id", "Model config: pad_token_id"),
        ("Killed   ", "Killed"),
        ("  File 'x', line 1", "  File 'x', line 1"),
        ("", ""),
    ],
)
def test_process_level_time_and_source_are_taken_off(line: str, message: str) -> None:
    """What a person reads is what follows them."""
    assert without_prefix(line) == message


def test_the_last_activity_is_the_last_line_that_says_something(tmp_path: Path) -> None:
    """Blank lines and bare prefixes are passed over."""
    log = tmp_path / "server.log"
    log.write_text("INFO 11-20 19:01:02 [w.py:1] Loading weights\n(APIServer pid=71)\n\n")
    assert last_activity(log) == "Loading weights"


def test_a_log_that_is_not_there_yet_says_nothing(tmp_path: Path) -> None:
    """The progress display asks before the server has written."""
    assert tail_lines(tmp_path / "server.log") == []
    assert (last_activity(tmp_path / "server.log"), failure_cause(tmp_path / "server.log")) == ("", "")


def test_only_the_end_of_a_long_log_is_read(tmp_path: Path) -> None:
    """300 000 lines of 8 bytes before the cause: at most 256 KiB of them, and bytes that are no text do no harm."""
    log = tmp_path / "server.log"
    log.write_bytes(b"waiting\n" * 300_000 + b"\xff\xfe\nKilled\n")
    assert len(tail_lines(log)) <= 256 * 1024 // 8 + 2
    assert failure_cause(log) == "Killed"


def test_code_that_comes_with_a_model_is_for_the_user_to_trust() -> None:
    """As vLLM 0.32 refuses InternVL3-2B; other causes speak for themselves."""
    refused = "ValidationError: 1 validation error for ModelConfig: The repository m contains custom code"
    assert "-- --trust-remote-code" in remedy(refused)
    assert remedy("torch.OutOfMemoryError: CUDA out of memory") == ""

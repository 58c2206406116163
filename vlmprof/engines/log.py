"""An engine's log: its last line for the progress display, and the cause of a failed start."""

import re
from pathlib import Path

_TAIL_BYTES = 256 * 1024
_PREFIX = re.compile(r"^(\([^)]*\)\s*)?([A-Z]+ \d\d-\d\d \d\d:\d\d:\d\d )?(\[[^\]]*\]\s*)?")
_CAUSE = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception|Exit|Interrupt|Failure)\b(?::|$)")
_CONSEQUENCE = re.compile(
    r"Engine core initialization failed|WorkerProc initialization failed|Failed core proc|EngineDeadError"
    r"|EngineCore encountered an issue|^SystemExit|^KeyboardInterrupt"
)
_VALIDATION = re.compile(r"\d+ validation errors? for \w+$")
_FATAL = re.compile(
    r"(api_server\.py|vllm[\w. ]*): error: |Killed|Segmentation fault|out of memory", re.IGNORECASE
)

_REMEDIES = (
    (
        re.compile(r"contains custom code|trust_remote_code=True"),
        "if you trust the code that comes with the model, end the command with -- --trust-remote-code",
    ),
)


def tail_lines(path: Path) -> list[str]:
    """The last lines of a log that may still grow; none where it does not exist."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            return log.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return []


def without_prefix(line: str) -> str:
    """A line without vLLM's process, level, time, source: `(EngineCore pid=7) ERROR 11-20 19:01:02 [core.py:9]`."""
    return _PREFIX.sub("", line, count=1).rstrip()


def last_activity(path: Path) -> str:
    """The last line that says something, for the progress display."""
    lines = [without_prefix(line) for line in tail_lines(path)[-20:]]
    return next((line for line in reversed(lines) if line.strip()), "")


def failure_cause(path: Path) -> str:
    """The line of the log that best says why the engine did not start; empty where none does.

    vLLM's processes each print a traceback that ends in the same sentence about another process: the cause is
    the last error that is not such a consequence.
    """
    lines = _with_validation_errors([without_prefix(line).strip() for line in tail_lines(path)])
    causes = [line for line in lines if _CAUSE.match(line) or _FATAL.search(line)]
    first_hand = [line for line in causes if not _CONSEQUENCE.search(line)]
    return (first_hand or causes or [line for line in lines if line] or [""])[-1]


def remedy(cause: str) -> str:
    """What to do about the cause of a failed start; empty where that depends on the cause's own words."""
    return next((advice for pattern, advice in _REMEDIES if pattern.search(cause)), "")


def _with_validation_errors(lines: list[str]) -> list[str]:
    """The lines with what pydantic, which checks vLLM's configuration, says below `1 validation error for X`."""
    return [
        f"{line}: {below.partition(' [type=')[0]}" if _VALIDATION.search(line) else line
        for line, below in zip(lines, [*lines[1:], ""], strict=False)
    ]

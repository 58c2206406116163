"""A user's own load generator as a child process."""

import os
import shlex
import sys
from pathlib import Path

import psutil
import pytest

from vlmprof.errors import ToolMissing, UsageError
from vlmprof.workload.load_command import LoadTarget, load_words, run_load_command

TARGET = LoadTarget(url="http://127.0.0.1:8123", model="org/model", port=8123)


def python(code: str) -> str:
    """A load command that runs a line of Python."""
    return shlex.join([sys.executable, "-c", code])


def test_placeholders_are_replaced_and_other_braces_kept() -> None:
    words = load_words("""bench --base-url {url}/v1 --model={model} -p {port} --extra '{"a": {}}'""", TARGET)
    assert words == (
        "bench",
        "--base-url",
        "http://127.0.0.1:8123/v1",
        "--model=org/model",
        "-p",
        "8123",
        "--extra",
        '{"a": {}}',
    )


def test_the_child_finds_the_server_in_its_environment_and_its_output_in_the_log(tmp_path: Path) -> None:
    code = (
        "import os, sys; print(os.environ['VLMPROF_URL'], os.environ['OPENAI_BASE_URL'],"
        " os.environ['OPENAI_API_KEY'], flush=True); print('oops', file=sys.stderr)"
    )
    outcome = run_load_command(python(code), TARGET, tmp_path / "load.log")
    lines = "http://127.0.0.1:8123 http://127.0.0.1:8123/v1 EMPTY\noops"
    assert outcome.exit_code == 0
    assert outcome.tail == lines
    assert (tmp_path / "load.log").read_text() == lines + "\n"
    assert outcome.start_ns < outcome.end_ns


def test_a_failing_command_is_reported_with_its_last_lines(tmp_path: Path) -> None:
    """30 lines, of which the tail keeps the last 20; exit code 3 is returned, not raised."""
    outcome = run_load_command(
        python("import sys; [print(n) for n in range(30)]; sys.exit(3)"), TARGET, tmp_path / "log"
    )
    assert outcome.exit_code == 3
    assert outcome.tail.splitlines() == [str(number) for number in range(10, 30)]


def test_an_interrupted_command_leaves_no_process_of_its_group(tmp_path: Path) -> None:
    """The child starts a grandchild and both sleep for an hour; both ignore nothing, both are gone."""
    pids = tmp_path / "pids"
    code = (
        "import os, subprocess, sys, time;"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(3600)']);"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}\\n'); time.sleep(3600)"
    )

    def interrupt() -> None:
        if pids.exists() and pids.read_text().endswith("\n"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_load_command(python(code), TARGET, tmp_path / "log", on_wait=interrupt)
    assert not any(_lives(int(pid)) for pid in pids.read_text().split())


def test_what_a_finished_command_leaves_behind_is_ended(tmp_path: Path) -> None:
    """The child ends at once with exit code 0; its grandchild would sleep for an hour."""
    pids = tmp_path / "pids"
    code = (
        "import subprocess, sys;"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(3600)']);"
        f"open({str(pids)!r}, 'w').write(str(child.pid))"
    )
    assert run_load_command(python(code), TARGET, tmp_path / "log").exit_code == 0
    assert not _lives(int(pids.read_text()))


def test_a_command_that_ignores_termination_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vlmprof.workload.load_command._GRACE_S", 0.2)
    ready = tmp_path / "ready"
    code = (
        "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f"open({str(ready)!r}, 'w').write(f'{{os.getpid()}}\\n'); time.sleep(3600)"
    )

    def interrupt() -> None:
        if ready.exists() and ready.read_text().endswith("\n"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_load_command(python(code), TARGET, tmp_path / "log", on_wait=interrupt)
    assert not _lives(int(ready.read_text()))


def test_a_command_that_does_not_exist_is_a_missing_tool(tmp_path: Path) -> None:
    with pytest.raises(ToolMissing, match="no-such-load") as missing:
        run_load_command("no-such-load --url {url}", TARGET, tmp_path / "log")
    assert missing.value.hint


@pytest.mark.parametrize("command", ["", "  ", "bench 'open"])
def test_an_empty_or_broken_command_is_refused(command: str) -> None:
    with pytest.raises(UsageError):
        load_words(command, TARGET)


def _lives(pid: int) -> bool:
    """Whether a process runs; one that is dead and not waited for does not."""
    if not psutil.pid_exists(pid) or pid == os.getpid():
        return False
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False

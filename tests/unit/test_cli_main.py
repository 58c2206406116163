"""The command line's last word: messages on stderr, exit codes, nothing on stdout that is not the result."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.synthetic_run import write_synthetic_run
from vlmprof import __version__, errors
from vlmprof.cli import main as cli_main
from vlmprof.errors import VlmprofError
from vlmprof.model.run_folder import RunFolder


def _vlmprof(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "vlmprof.cli.main", *arguments], capture_output=True, text=True, check=False
    )


def _end_of(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> object:
    """The exit code of a command whose opening of the run folder raises."""

    def fail(_path: Path) -> RunFolder:
        raise error

    monkeypatch.setattr(RunFolder, "open", fail)
    monkeypatch.setattr(sys, "argv", ["vlmprof", "report", "run"])
    with pytest.raises(SystemExit) as ended:
        cli_main.main()
    return ended.value.code


@pytest.mark.parametrize(
    "error",
    [
        errors.UsageError,
        errors.RegressionFound,
        errors.ToolMissing,
        errors.RecipeMisfit,
        errors.FileUnreadable,
        errors.ClockError,
        errors.EngineFailed,
        errors.Interrupted,
    ],
)
def test_an_error_becomes_its_message_hint_and_exit_code(
    error: type[VlmprofError], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two lines on stderr, no traceback, nothing on stdout."""
    code = _end_of(monkeypatch, error("the disk has a hole", hint="mend it"))
    assert code == int(error.exit_code)
    out, err = capsys.readouterr()
    assert (out, err) == ("", "vlmprof: the disk has a hole\n  -> mend it\n")


def test_an_error_without_a_hint_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No empty arrow."""
    _end_of(monkeypatch, errors.UsageError("no"))
    assert capsys.readouterr().err == "vlmprof: no\n"


def test_an_interrupt_ends_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As shells expect of Ctrl-C, and without a traceback."""
    assert _end_of(monkeypatch, KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "vlmprof: interrupted\n"


@pytest.mark.parametrize("defect", [ZeroDivisionError, EOFError, BrokenPipeError, OSError])
def test_a_defect_keeps_its_traceback(
    defect: type[Exception], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And ends with 70: 1, Python's own and Click's, is a regression to whoever waits for a gate."""
    assert _end_of(monkeypatch, defect("of ours")) == 70
    out, err = capsys.readouterr()
    assert out == ""
    assert f"{defect.__name__}: of ours" in err
    assert err.splitlines()[-1].startswith("vlmprof: this is a defect of vlmprof; please report it")


_PRINTS_A_LOT = (
    "import sys\n"
    "from vlmprof.cli import main, models\n"
    "from vlmprof.errors import RegressionFound\n"
    "@main.app.command()\n"
    "def lines() -> None:\n"
    "    for number in range(100_000):\n"
    "        print(number)\n"
    "    {ending}\n"
    "sys.argv = ['vlmprof', 'lines']\n"
    "main.main()\n"
)


@pytest.mark.parametrize(
    ("ending", "code"), [("pass", 0), ("raise RegressionFound('slower')", 1)], ids=["passes", "fails"]
)
def test_a_reader_that_has_seen_enough_leaves_the_exit_code_as_it_is(ending: str, code: int) -> None:
    """`| head -1` closes the pipe: the gate decides all the same, and nobody hears of the pipe."""
    program = _PRINTS_A_LOT.format(ending=ending)
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "0\n"
        process.stdout.close()
        errors_told = process.stderr.read()
        assert process.wait(60) == code
    assert errors_told == ("vlmprof: slower\n" if code else "")


@pytest.mark.parametrize("count", [1, 100_000], ids=["at the end", "on the way"])
def test_an_output_that_cannot_be_written_ends_with_5(count: int) -> None:
    """A full disk, met when the last lines are flushed, or long before."""
    program = _PRINTS_A_LOT.format(ending="pass").replace("100_000", str(count))
    with open("/dev/full", "wb") as full:
        run = subprocess.run(
            [sys.executable, "-c", program], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert run.returncode == 5
    assert run.stderr.splitlines()[0] == "vlmprof: the output cannot be written: No space left on device"
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("closed", ["--version >&-", "--version 2>&-", "report nowhere 2>/dev/full"])
def test_a_stream_that_is_closed_or_full_changes_no_exit_code(closed: str) -> None:
    """As a scheduler starts its jobs."""
    words = closed.split()
    command = f'"{sys.executable}" -m vlmprof.cli.main {closed}'
    run = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert run.returncode == (0 if words[0] == "--version" else 5)
    assert "Traceback" not in run.stderr


def test_the_version_is_printed() -> None:
    """On stdout, alone."""
    run = _vlmprof("--version")
    assert (run.stdout, run.stderr, run.returncode) == (f"vlmprof {__version__}\n", "", 0)


def test_a_locale_without_box_drawing_gets_question_marks(tmp_path: Path) -> None:
    """The result is printed all the same."""
    folder = write_synthetic_run(tmp_path / "run")
    run = subprocess.run(
        [sys.executable, "-m", "vlmprof.cli.main", "report", str(folder.path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert run.returncode == 0, run.stderr
    assert "Where the time goes" in run.stdout
    assert "?????" in run.stdout


def test_a_folder_that_is_no_run_ends_with_5(tmp_path: Path) -> None:
    """In a process of its own: the whole way from the console to the exit code."""
    run = _vlmprof("report", str(tmp_path))
    assert (run.stdout, run.returncode) == ("", 5)
    assert f"vlmprof: {tmp_path} is no run folder" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_run_of_a_newer_vlmprof_ends_with_5(tmp_path: Path) -> None:
    """Also where it is to be analysed again; nothing is written into it."""
    (tmp_path / "run.json").write_text('{"schema_version": 99}')
    for arguments in ((), ("--rebuild",)):
        run = _vlmprof("report", str(tmp_path), *arguments)
        assert run.returncode == 5
        assert "schema version 99" in run.stderr
        assert "upgrade vlmprof" in run.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("no-such-command",), "No such command"),
        (("report",), "Missing argument"),
        (("run", "m", "--requests", "1"), "--requests"),
        (("run", "m", "--rate", "0"), "a rate of 0.0 requests/s"),
        (("run", "no-such-model"), "unknown model"),
    ],
)
def test_a_command_that_makes_no_sense_ends_with_2(
    arguments: tuple[str, ...], text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Before anything is started or a folder is made."""
    monkeypatch.chdir(tmp_path)
    run = _vlmprof(*arguments)
    assert (run.stdout, run.returncode) == ("", 2)
    assert text in run.stderr
    assert list(tmp_path.iterdir()) == []


_NO_AMOUNTS = {
    "--seed": ("-1",),
    "--interval": ("inf", "nan", "0"),
    "--requests": ("3",),
    "--port": ("99999", "-5"),
    "--ready-timeout": ("nan", "inf", "-1"),
    "--rate": ("nan", "inf", "0"),
    "--load-cmd": ("", " "),
}
_OF_OTHERS = {
    "run": (),
    "attach": ("--port", "--ready-timeout", "--load-cmd"),
    "ladder": ("--rate", "--load-cmd"),
}


@pytest.mark.parametrize(
    ("command", "option", "value"),
    [
        (command, option, value)
        for command, lacking in _OF_OTHERS.items()
        for option, values in _NO_AMOUNTS.items()
        for value in values
        if option not in lacking
    ],
)
def test_an_amount_that_is_none_is_refused_before_anything_is_done(
    command: str,
    option: str,
    value: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By name. Later, each failed in its own way: with a traceback, or in the server, minutes after."""
    target = ["--url", "http://127.0.0.1:1"] if command == "attach" else ["no-such-model"]
    monkeypatch.setattr(sys, "argv", ["vlmprof", command, *target, f"{option}={value}"])
    with pytest.raises(SystemExit) as ended:
        cli_main.main()
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert (option if option != "--rate" else "a rate of") in told
    assert "unknown model" not in told
    assert "Traceback" not in told


def test_without_a_command_the_help_is_shown() -> None:
    """Each command is named in it."""
    run = _vlmprof()
    shown = run.stdout + run.stderr
    assert all(command in shown for command in ("run", "report", "doctor", "models"))


@pytest.mark.parametrize(
    ("command", "default"), [("run", "runs/MODEL-TIME"), ("attach", "runs/attached-TIME")]
)
def test_help_says_where_a_run_goes(command: str, default: str) -> None:
    """Square brackets in a help text are markup to Rich, which shows nothing of them."""
    assert default in _vlmprof(command, "--help").stdout

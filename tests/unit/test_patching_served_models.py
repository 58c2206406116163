"""Recipes where nobody said what is served: they wait for the engine's own word, and keep to that model."""

import json
import textwrap
from pathlib import Path

import pytest

from tests.unit.test_patching_served import served_process
from vlmprof.patching import Family
from vlmprof.patching.source import InstalledSource

_FAMILY = Family.QWEN3_VL
_OURS, _OTHER, _UNKNOWN = (
    "Qwen3VLForConditionalGeneration",
    "SmolVLMForConditionalGeneration",
    "SkyworkR1VChatModel",
)
_ARG_UTILS = """
from types import SimpleNamespace
class EngineArgs:
    def __init__(self, architecture):
        self.architecture = architecture
    def create_model_config(self):
        return SimpleNamespace(architecture=self.architecture)
"""
_WORKER_BASE = """
class WorkerBase:
    def __init__(self, vllm_config, rank):
        self.vllm_config = vllm_config
"""
_VLLM = {
    "__init__.py": "",
    "engine/__init__.py": "",
    "engine/arg_utils.py": _ARG_UTILS,
    "v1/worker/worker_base.py": _WORKER_BASE,
}
_ENGINE = textwrap.dedent("""
    import json, os
    from types import SimpleNamespace
    from vlmprof.plugin import load
    from vllm.engine.arg_utils import EngineArgs
    import served_engine
    load()
    doubled = [served_engine.double(4)]
    for architecture in {architectures}:
        if {in_worker}:
            from vllm.v1.worker.worker_base import WorkerBase
            WorkerBase(SimpleNamespace(model_config=SimpleNamespace(architecture=architecture)), rank=0)
        else:
            EngineArgs(architecture).create_model_config()
        doubled.append(served_engine.double(4))
    print(json.dumps([doubled, os.environ.get("VLMPROF_RECIPE_FAMILY")]))
""")


def _serving(
    tmp_path: Path, *architectures: str, in_worker: bool = False, **variables: str
) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a process that serves models one after the other; 8 is the engine's own."""
    for name, text in _VLLM.items():
        path = tmp_path / "vllm" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    program = _ENGINE.format(architectures=list(architectures), in_worker=in_worker)
    process = served_process(tmp_path, program, **variables)
    said, errors = process.communicate()
    return process.returncode, said, errors


def test_recipes_wait_until_the_engine_says_which_model_it_serves(tmp_path: Path) -> None:
    """8 before, 80 from then on, and processes that are started later are told the family."""
    _, said, errors = _serving(tmp_path, _OURS, VLMPROF_RECIPES="5")
    assert json.loads(said or "0") == [[8, 80], _FAMILY.name], errors
    assert errors == "INFO vlmprof recipes applied: 5\n"


def test_a_worker_that_nobody_told_of_the_model_learns_it_from_its_own_config(tmp_path: Path) -> None:
    """As one on another machine, which does not inherit the API server's environment."""
    _, said, errors = _serving(tmp_path, _OURS, in_worker=True, VLMPROF_RECIPES="all")
    assert json.loads(said or "0") == [[8, 80], _FAMILY.name], errors


def test_a_model_that_no_recipe_knows_is_served_as_it_is_by_all(tmp_path: Path) -> None:
    """Some share an image processor with InternVL, and would take its pixels for normalized ones."""
    _, said, errors = _serving(tmp_path, _UNKNOWN, VLMPROF_RECIPES="all")
    assert json.loads(said or "0") == [[8, 8], "NONE"], errors
    assert errors == f"INFO vlmprof recipes applied: none: no recipe knows {_UNKNOWN}\n"


def test_numbers_for_a_model_that_no_recipe_knows_stop_the_engine_with_what_to_do(tmp_path: Path) -> None:
    """A server shows an error's text alone: the variable and the hint are in it."""
    code, _, errors = _serving(tmp_path, _UNKNOWN, VLMPROF_RECIPES="5")
    assert code != 0
    assert f"VLMPROF_RECIPES=5: no recipe knows {_UNKNOWN}; recipes are for " in errors


def test_numbers_that_do_not_fit_the_model_stop_the_engine(tmp_path: Path) -> None:
    """Recipe 5 changes Qwen3-VL alone."""
    code, _, errors = _serving(tmp_path, _OTHER, VLMPROF_RECIPES="5")
    assert code != 0
    assert f"recipe 5 (toy_5) has nothing to apply to {Family.IDEFICS3}" in errors


def test_an_engine_that_runs_another_model_than_was_planned_for_is_stopped(tmp_path: Path) -> None:
    """As with `--model-impl transformers`, whose model takes none of the fields that a recipe renames."""
    transformers = "TransformersMultiModalForCausalLM"
    code, _, errors = _serving(
        tmp_path, transformers, VLMPROF_RECIPES="5", VLMPROF_RECIPE_FAMILY=_FAMILY.name
    )
    assert code != 0
    assert f"chosen for {_FAMILY}, and the engine runs {transformers}" in errors


def test_a_second_model_in_one_process_switches_them_off(tmp_path: Path) -> None:
    """What they changed for the first model would be half of a change for the second."""
    _, said, errors = _serving(tmp_path, _OURS, _OURS, _OTHER, VLMPROF_RECIPES="5")
    assert json.loads(said or "0") == [[8, 80, 80, 8], "NONE"], errors
    assert f"off in this process, which now serves {_OTHER} as well" in errors


@pytest.mark.parametrize(("text", "said"), [(",", "names no recipe"), ("all,5", "there is no recipe 'all'")])
def test_words_that_name_no_set_stop_the_engine_before_its_model_is_known(
    tmp_path: Path, text: str, said: str
) -> None:
    """The hint lists what there is."""
    code, _, errors = _serving(tmp_path, VLMPROF_RECIPES=text)
    assert code != 0
    assert said in errors
    assert "or all, or exact" in errors


@pytest.mark.parametrize(
    "target",
    [
        "vllm.engine.arg_utils:EngineArgs.create_model_config",
        "vllm.v1.worker.worker_base:WorkerBase.__init__",
    ],
)
def test_the_installed_vllm_says_what_it_serves_where_recipes_look(target: str) -> None:
    """Without these calls no recipe would ever be applied."""
    pytest.importorskip("vllm", reason="vLLM is not installed")
    assert InstalledSource().function(target) is not None

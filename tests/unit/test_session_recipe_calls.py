"""What the served processes counted of recipes, by role, and what that says of a run."""

import struct
from pathlib import Path

import msgspec
import pytest

from vlmprof.model.process import Process, Role
from vlmprof.model.run_info import SCHEMA_VERSION, HostInfo, ModelInfo, RecipeUse, RunInfo
from vlmprof.patching import PatchCounts
from vlmprof.patching.call import NOTHING_TO_DO
from vlmprof.patching.ledger import CallLedger, read_ledgers, read_reasons
from vlmprof.session.recipe_calls import counted_uses, failure_warnings, inactions, never_called


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """This process's ledger under two pids: recipe 8 was called twice and failed once, 10 gave way once."""
    ledger = CallLedger(tmp_path)
    ledger.add_calls(1 << 8 | 1 << 10)
    ledger.add_gave_way(1 << 10, "videos")
    ledger.add_calls(1 << 8)
    ledger.add_failures(1 << 8)
    for kind in ("bin", "reasons"):
        (own,) = tmp_path.glob(f"recipes.*.{kind}")
        (tmp_path / f"recipes.7.{kind}").write_bytes(own.read_bytes())
        own.rename(tmp_path / f"recipes.8.{kind}")
    return tmp_path


def test_a_ledger_reads_back_from_another_process_view(raw: Path) -> None:
    """Numbers that were never called are left out, and a reason of two processes is one."""
    counts = {8: PatchCounts(2, 1), 10: PatchCounts(1, 0, 1)}
    assert read_ledgers(raw) == {7: counts, 8: counts}
    assert read_reasons(raw) == {10: ["videos"]}


def test_a_reason_is_written_once_for_each_recipe(tmp_path: Path) -> None:
    """1 and 3 gave way three times: twice for one reason, which is one line of each."""
    ledger = CallLedger(tmp_path)
    for reason in ("videos", "gray", "videos"):
        ledger.add_gave_way(1 << 1 | 1 << 3, reason)
    (path,) = tmp_path.glob("recipes.*.reasons")
    assert path.read_text() == "1\tvideos\n3\tvideos\n1\tgray\n3\tgray\n"


def test_the_ledger_of_an_earlier_run_has_two_columns(tmp_path: Path) -> None:
    """Recipe 2 was called 5 times and failed once; nobody counted where it gave way."""
    words = [0] * 128
    words[4:6] = [5, 1]
    (tmp_path / "recipes.7.bin").write_bytes(struct.pack("128Q", *words))
    assert read_ledgers(tmp_path) == {7: {2: PatchCounts(5, 1)}}


def test_a_ledger_that_was_cut_off_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    """Of three rows the last is half there."""
    (tmp_path / "recipes.7.bin").write_bytes(struct.pack("9Q", 0, 0, 0, 4, 0, 1, 9, 9, 9)[:-12])
    assert read_ledgers(tmp_path) == {7: {1: PatchCounts(4, 0, 1)}}


def test_calls_are_summed_by_role_and_what_became_of_them_over_all(raw: Path) -> None:
    """Process 7 is the API server, 8 is nobody the agent saw: 2 calls each, 2 failures together."""
    processes = [Process(7, 1, Role.API_SERVER, None, "api")]
    planned = [RecipeUse(number=number, slug=f"r{number}") for number in (8, 10, 11)]
    uses = counted_uses(raw, planned, processes)
    assert uses == [
        RecipeUse(number=8, slug="r8", calls={"api_server": 2, "other": 2}, failures=2),
        RecipeUse(number=10, slug="r10", calls={"api_server": 1, "other": 1}, gave_way=2, reasons=["videos"]),
        RecipeUse(number=11, slug="r11"),
    ]
    assert [use.acted for use in uses] == [2, 0, 0]
    assert failure_warnings(uses) == [
        "recipe 8 (r8) failed in 2 calls, which went the engine's own way; the reason is in raw/server.log",
        "recipe 10 (r10) was called 2 times and gave way each time (videos)",
    ]


def _info(*uses: RecipeUse, command: str = "") -> RunInfo:
    return RunInfo(
        schema_version=SCHEMA_VERSION,
        vlmprof_version="0",
        name="",
        status="complete",
        created_unix_ns=0,
        command=command.split(),
        model=ModelInfo(name=""),
        host=HostInfo(cpu="", cores=1, memory_bytes=1, kernel="", os=""),
        recipes=list(uses),
    )


_ACTED = RecipeUse(number=8, slug="uint8", calls={"worker": 3}, gave_way=2)
_GAVE_WAY = RecipeUse(number=6, slug="bf16", calls={"worker": 3}, gave_way=3, reasons=["videos", "odd"])
_FAILED = RecipeUse(number=1, slug="reduce", calls={"worker": 2, "other": 1}, failures=3)
_BOTH = RecipeUse(number=1, slug="reduce", calls={"worker": 3}, failures=1, gave_way=2, reasons=["odd"])


def test_a_live_recipe_that_nobody_called_is_told() -> None:
    """11 has patches and no call; 8 was called."""
    idle = RecipeUse(number=11, slug="avoid_split")
    assert [use.number for use in never_called(_info(_ACTED, idle))] == [11]
    assert never_called(_info(_ACTED)) == []


@pytest.mark.parametrize(
    ("use", "said"),
    [
        (_GAVE_WAY, "recipe 6 (bf16) was called 3 times and gave way each time (videos; odd)"),
        (_FAILED, "recipe 1 (reduce) was called 3 times and failed each time"),
        (
            _BOTH,
            "recipe 1 (reduce) was called 3 times and failed in 1 of them and gave way in the others (odd)",
        ),
    ],
)
def test_a_recipe_that_was_called_and_never_acted_makes_a_run_of_it_invalid(
    use: RecipeUse, said: str
) -> None:
    """Alone, and beside one that acted where the command names it."""
    assert inactions(_info(use)) == [said]
    assert inactions(_info(use, _ACTED, command=f"vlmprof run MODEL --ab {use.number},8")) == [said]
    assert inactions(_info(_ACTED)) == []


@pytest.mark.parametrize(
    "command",
    [
        "run M --ab all",
        "run M --recipes=exact --ab 8",
        "ladder M --order 6,8",
        "run M --ab all -- --recipes 6",
    ],
)
def test_a_recipe_that_the_command_does_not_name_may_have_nothing_to_act_on(command: str) -> None:
    """`all` is what fits: 15 gives way on a GPU and 6 beside 8; a warning says so."""
    assert inactions(_info(_GAVE_WAY, _ACTED, command=f"vlmprof {command}")) == []
    assert len(inactions(_info(_GAVE_WAY, command=f"vlmprof {command}"))) == 1, "none of all acted"
    assert len(failure_warnings([_GAVE_WAY, _ACTED])) == 1


def test_a_recipe_whose_work_others_did_is_a_warning_beside_them() -> None:
    """8 leaves nothing to 6 on a CPU, and whoever adds both by number meant what was measured."""
    idle = msgspec.structs.replace(_GAVE_WAY, reasons=[NOTHING_TO_DO])
    assert inactions(_info(idle, _ACTED, command="vlmprof run M --ab 1,6,8")) == []
    assert len(failure_warnings([idle, _ACTED])) == 1


@pytest.mark.parametrize("option", ["--ab 1,6", "--ab=6", "--recipes 6 --ab all"])
def test_a_recipe_is_named_in_any_form_of_the_option(option: str) -> None:
    assert len(inactions(_info(_GAVE_WAY, _ACTED, command=f"vlmprof run M {option}"))) == 1

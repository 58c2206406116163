"""What the served processes counted of recipes, by role, and what that says of a run."""

from pathlib import Path

import msgspec
import pytest

from vlmprof.model.process import Process, Role
from vlmprof.model.run_info import SCHEMA_VERSION, HostInfo, ModelInfo, RecipeUse, RunInfo
from vlmprof.patching import PatchCounts
from vlmprof.patching.ledger import CallLedger, read_ledgers
from vlmprof.session.recipe_calls import counted_uses, failure_warnings, never_called


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Two processes' ledgers: this one's under two pids, recipe 8 called twice with one failure, 10 once."""
    ledger = CallLedger(tmp_path)
    ledger.add_calls(1 << 8 | 1 << 10)
    ledger.add_calls(1 << 8)
    ledger.add_failures(1 << 8)
    (own,) = tmp_path.glob("recipes.*.bin")
    (tmp_path / "recipes.7.bin").write_bytes(own.read_bytes())
    own.rename(tmp_path / "recipes.8.bin")
    return tmp_path


def test_a_ledger_reads_back_from_another_process_view(raw: Path) -> None:
    """Numbers that were never called are left out."""
    counts = {8: PatchCounts(2, 1), 10: PatchCounts(1, 0)}
    assert read_ledgers(raw) == {7: counts, 8: counts}


def test_calls_are_summed_by_role_and_failures_over_all(raw: Path) -> None:
    """Process 7 is the API server, 8 is nobody the agent saw: 2 calls each, 2 failures together."""
    processes = [Process(7, 1, Role.API_SERVER, None, "api")]
    planned = [RecipeUse(number=8, slug="uint8"), RecipeUse(number=11, slug="avoid_split")]
    uses = counted_uses(raw, planned, processes)
    assert uses == [
        RecipeUse(number=8, slug="uint8", calls={"api_server": 2, "other": 2}, failures=2),
        RecipeUse(number=11, slug="avoid_split"),
    ]
    assert failure_warnings(uses) == [
        "recipe 8 (uint8) failed in 2 of 4 calls, which went the engine's own way; the reason is in raw/server.log"
    ]


def test_a_live_recipe_that_nobody_called_is_told(raw: Path) -> None:
    """11 has patches and no call; 8 was called."""
    uses = [RecipeUse(number=8, slug="uint8", calls={"worker": 1}), RecipeUse(number=11, slug="avoid_split")]
    info = RunInfo(
        schema_version=SCHEMA_VERSION,
        vlmprof_version="0",
        name="",
        status="complete",
        created_unix_ns=0,
        command=[],
        model=ModelInfo(name=""),
        host=HostInfo(cpu="", cores=1, memory_bytes=1, kernel="", os=""),
        recipes=uses,
    )
    assert [use.number for use in never_called(info)] == [11]
    assert never_called(msgspec.structs.replace(info, recipes=uses[:1])) == []

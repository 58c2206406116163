"""A run that was cut off goes on with what it lacks."""

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from vlmprof.errors import UsageError
from vlmprof.model.request import Phase, Request
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.run_info import SCHEMA_VERSION, HostInfo, ModelInfo, RunInfo
from vlmprof.session.journal import REQUESTS_FILE, read_requests
from vlmprof.session.resume import planned_blocks, take_up
from vlmprof.workload.schedule import Block, plan_blocks
from vlmprof.workload.trial import plan_trial

_BEFORE = plan_blocks(4, warm_up=1, concurrency=1, seed=0)
_BLOCKS = _BEFORE + plan_trial({"A": (), "B": (1,)}, rounds=2, requests_per_block=2, seed=0, after=_BEFORE)


def _info(blocks: list[Block]) -> RunInfo:
    return RunInfo(
        schema_version=SCHEMA_VERSION,
        vlmprof_version="0",
        name="cut-off",
        status="partial",
        created_unix_ns=0,
        command=[],
        model=ModelInfo(name="toy"),
        host=HostInfo(cpu="cpu", cores=2, memory_bytes=1, kernel="", os=""),
        blocks=planned_blocks(blocks),
    )


def _request(block: Block, number: int) -> Request:
    return Request(f"r{block.index}-{number}", block.phase, block.index, 0, 1, 2, 1, 1, 1, ())


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder.create(tmp_path / "run")
    folder.write_info(_info(_BLOCKS))
    return folder


def _record(folder: RunFolder, requests: list[Request]) -> None:
    lines = b"".join(msgspec.json.encode(request) + b"\n" for request in requests)
    (folder.raw / REQUESTS_FILE).write_bytes(lines)


def _all_requests() -> list[Request]:
    return [_request(block, number) for block in _BLOCKS for number in range(block.request_count)]


def test_a_round_that_lacks_a_request_is_sent_again_as_a_whole(folder: RunFolder) -> None:
    """The last request of round 1 is missing: its three blocks go, round 0 and the profiled part stay."""
    _record(folder, _all_requests()[:-1])
    earlier = take_up(folder, _info(_BLOCKS), _BLOCKS)
    measured = [block for block in earlier.remaining if block.phase != Phase.WARM_UP]
    assert {block.round for block in measured} == {1}
    assert len(measured) == 3
    assert earlier.profiled
    kept = {request.block for request in read_requests(folder)}
    assert kept == {block.index for block in _BLOCKS if block.round != 1}


def test_a_run_that_was_cut_off_while_it_was_profiled_starts_with_that(folder: RunFolder) -> None:
    """Two requests of the first block are all there is: everything is sent again."""
    _record(folder, _all_requests()[:2])
    earlier = take_up(folder, _info(_BLOCKS), _BLOCKS)
    assert earlier.remaining == _BLOCKS
    assert not earlier.profiled


def test_a_complete_run_has_nothing_left_to_send(folder: RunFolder) -> None:
    """Not even a warm-up: no server is started for it."""
    _record(folder, _all_requests())
    assert take_up(folder, _info(_BLOCKS), _BLOCKS).remaining == []


def test_another_plan_or_model_is_not_gone_on_with(folder: RunFolder) -> None:
    """A block more, and another model: the message names what differs, and the folder is left as it was."""
    _record(folder, _all_requests()[:-1])
    more = [*_BLOCKS, replace(_BLOCKS[-1], index=99)]
    planned = msgspec.structs.replace(_info(more), model=ModelInfo(name="other"))
    with pytest.raises(UsageError, match="another model and another recipes and rounds"):
        take_up(folder, planned, more)
    assert len(read_requests(folder)) == len(_all_requests()) - 1


def test_a_run_with_another_baseline_is_another_run(folder: RunFolder) -> None:
    """Its requests ask for something else."""
    old = [replace(block, behaviour="pil") for block in _BLOCKS]
    with pytest.raises(UsageError, match="another recipes and rounds"):
        take_up(folder, _info(old), old)

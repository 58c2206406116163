"""A run that was cut off goes on with what it lacks."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from vlmprof.errors import UsageError
from vlmprof.model.request import Phase, Request
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.run_info import SCHEMA_VERSION, EngineInfo, HostInfo, ModelInfo, RunInfo, WorkloadInfo
from vlmprof.session.journal import REQUESTS_FILE, read_requests
from vlmprof.session.resume import planned_blocks, take_up
from vlmprof.workload.schedule import Block, plan_blocks
from vlmprof.workload.trial import plan_trial

_BEFORE = plan_blocks(4, warm_up=1, concurrency=1, seed=0)
_BLOCKS = _BEFORE + plan_trial({"A": (), "B": (1,)}, rounds=2, requests_per_block=2, seed=0, after=_BEFORE)

_WORKLOAD = WorkloadInfo(
    image_source="photos: 80 files, digest 0123456789ab",
    prompt="What is it?",
    requests=4,
    warm_up=1,
    concurrency=1,
    rate_per_s=None,
    max_tokens=16,
    seed=0,
)


def _info(blocks: list[Block]) -> RunInfo:
    return RunInfo(
        schema_version=SCHEMA_VERSION,
        vlmprof_version="0",
        name="cut-off",
        status="partial",
        created_unix_ns=0,
        command=["vlmprof", "ladder", "checkpoints/toy", "--", "--max-model-len", "8192"],
        model=ModelInfo(name="toy", path="checkpoints/toy", architecture="Toy", dtype="bfloat16"),
        engine=EngineInfo(name="vllm", version="0.32.0", command=[], device="cpu"),
        workload=_WORKLOAD,
        host=HostInfo(cpu="cpu", cores=2, memory_bytes=1, kernel="", os=""),
        blocks=planned_blocks(blocks),
    )


def _request(block: Block, number: int) -> Request:
    return Request(
        f"r{block.index}-{number}", block.phase, block.index, 0, 1, 2, 1, 1, 1, (), http_status=200
    )


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


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"path": "other/toy"}, "another model"),
        ({"dtype": "float32"}, "another model"),
        ({"device": "cuda"}, "another engine"),
        ({"command": ["vlmprof", "ladder", "checkpoints/toy"]}, "another set of arguments after --"),
        (
            {"command": ["vlmprof", "ladder", "checkpoints/toy", "--", "--max-model-len", "4096"]},
            "arguments after --",
        ),
        ({"image_source": "photos: 80 files, digest ba9876543210"}, "another series of pictures"),
        ({"prompt": "Read the text."}, "another workload"),
    ],
)
def test_rows_of_one_ladder_are_of_the_same_model_engine_and_pictures(
    folder: RunFolder, changes: dict[str, Any], told: str
) -> None:
    """Half of a table from weights in float32 and half from bfloat16 would compare nothing."""
    _record(folder, _all_requests()[:-1])
    with pytest.raises(UsageError, match=told):
        take_up(folder, _changed(_info(_BLOCKS), changes), _BLOCKS)


def _changed(info: RunInfo, changes: dict[str, Any]) -> RunInfo:
    """A run with some fields of it, of its model, its engine or its workload replaced."""

    def of(part: Any) -> Any:
        fields = {name: value for name, value in changes.items() if hasattr(part, name)}
        return msgspec.structs.replace(part, **fields)

    whole = msgspec.structs.replace(
        info, model=of(info.model), engine=of(info.engine), workload=of(info.workload)
    )
    return msgspec.structs.replace(whole, command=changes.get("command", info.command))


def test_the_same_checkpoint_by_another_spelling_is_the_same(folder: RunFolder) -> None:
    """checkpoints/toy, and the whole path with a detour in it."""
    _record(folder, _all_requests()[:-1])
    planned = _changed(_info(_BLOCKS), {"path": str(Path.cwd() / "checkpoints" / "x" / ".." / "toy")})
    assert take_up(folder, planned, _BLOCKS).remaining


def _failed(request: Request, error: str, http_status: int) -> Request:
    return replace(request, error=error, http_status=http_status, first_token_ns=None)


@pytest.mark.parametrize(
    ("error", "http_status"),
    [
        ("not sent: the server no longer answers", 0),
        ("ConnectError: All connection attempts failed", 0),
        ("interrupted", 0),
        ("interrupted", 200),
    ],
)
def test_a_request_that_the_server_s_death_or_ctrl_c_ended_is_sent_again(
    folder: RunFolder, error: str, http_status: int
) -> None:
    """The last of the last round: it is on record, and the round is lost all the same."""
    requests = _all_requests()
    _record(folder, [*requests[:-1], _failed(requests[-1], error, http_status)])
    earlier = take_up(folder, _info(_BLOCKS), _BLOCKS)
    assert {block.round for block in earlier.remaining if block.phase != Phase.WARM_UP} == {1}
    assert not any(request.error for request in read_requests(folder))


def test_a_request_that_the_server_refused_stays_refused(folder: RunFolder) -> None:
    """HTTP 400: it would be refused again, and the ladder would never be complete."""
    requests = _all_requests()
    _record(folder, [*requests[:-1], _failed(requests[-1], "image too small", 400)])
    assert take_up(folder, _info(_BLOCKS), _BLOCKS).remaining == []

"""Going on with a run that was cut off: what of it is complete, and what is still to be sent."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import msgspec

from vlmprof.errors import UsageError
from vlmprof.model.request import Phase, Request
from vlmprof.model.run_folder import RunFolder, write_atomically
from vlmprof.model.run_info import BlockInfo, EngineInfo, ModelInfo, RunInfo, WorkloadInfo
from vlmprof.session.engine_of_run import engine_args
from vlmprof.session.journal import REQUESTS_FILE, read_requests
from vlmprof.workload.client import INTERRUPTED
from vlmprof.workload.schedule import Block


@dataclass(frozen=True, slots=True)
class Earlier:
    """A run that was cut off.

    Attributes:
        remaining: blocks still to be sent, each new server's warm-up with them; empty for a complete run.
        profiled: whether the blocks that profilers watch are all there.
    """

    info: RunInfo
    remaining: list[Block]
    profiled: bool


def planned_blocks(blocks: list[Block]) -> list[BlockInfo]:
    """Blocks as run.json lists them."""
    return [
        BlockInfo(
            index=block.index,
            phase=str(block.phase),
            recipe_set=block.recipe_set,
            round=block.round,
            arm=block.arm,
            server=block.server,
            behaviour=block.behaviour,
        )
        for block in blocks
    ]


def take_up(folder: RunFolder, planned: RunInfo, blocks: list[Block]) -> Earlier:
    """Look at what a run folder holds of a plan, and leave in it only what is whole.

    A round is compared within itself, and control blocks with the profiled ones beside them: a unit that
    lacks an answer is sent again as a whole, and its requests are taken out of the folder. A refusal is an
    answer: the server would give it again.

    Args:
        planned: run.json as it would be for a new run.

    Raises:
        UsageError: the folder holds another run than the planned one.
    """
    info = folder.read_info()
    _check_same(folder, info, planned)
    requests = read_requests(folder)
    recorded = Counter(request.block for request in requests if _was_answered(request))
    measured = [block for block in blocks if block.phase != Phase.WARM_UP]
    cut = {block.round for block in measured if recorded[block.index] < block.request_count}
    _keep(folder, [each for each in requests if not _is_of(each, measured, cut)])
    remaining = [block for block in blocks if block.phase == Phase.WARM_UP or block.round in cut]
    return Earlier(info, remaining if cut else [], profiled=None not in cut)


def _was_answered(request: Request) -> bool:
    """Whether a record is of what the server did: not of its death, nor of a Ctrl-C with the request in flight."""
    return not request.error or (request.http_status != 0 and request.error != INTERRUPTED)


def _is_of(request: Request, blocks: list[Block], rounds: set[int | None]) -> bool:
    return any(block.index == request.block and block.round in rounds for block in blocks)


def _keep(folder: RunFolder, requests: list[Request]) -> None:
    lines = b"".join(msgspec.json.encode(request) + b"\n" for request in requests)
    write_atomically(folder.raw / REQUESTS_FILE, lines)


def _check_same(folder: RunFolder, info: RunInfo, planned: RunInfo) -> None:
    differing = [
        what
        for what, before, now in (
            ("model", _model(info.model), _model(planned.model)),
            ("engine", _engine(info.engine), _engine(planned.engine)),
            ("set of arguments after --", engine_args(info), engine_args(planned)),
            ("series of pictures", _pictures(info.workload), _pictures(planned.workload)),
            ("workload", _without_pictures(info.workload), _without_pictures(planned.workload)),
            ("recipes and rounds", info.blocks, planned.blocks),
            ("machine", info.host, planned.host),
        )
        if before != now
    ]
    if differing:
        raise UsageError(
            f"{folder.path} holds a run with another {' and another '.join(differing)}",
            hint="repeat the command that was cut off, name another folder with --out, or pass --overwrite",
        )


def _model(model: ModelInfo) -> tuple[str, ...]:
    """Where the weights are says more than the folder's name, which checkpoints of several scales share."""
    path = str(Path(model.path).resolve()) if model.path else ""
    return model.name, path, model.architecture, model.dtype


def _engine(engine: EngineInfo | None) -> tuple[str, str, dict[str, str]]:
    return (engine.version, engine.device, engine.packages) if engine else ("", "", {})


def _pictures(workload: WorkloadInfo | None) -> str:
    return workload.image_source if workload else ""


def _without_pictures(workload: WorkloadInfo | None) -> WorkloadInfo | None:
    return msgspec.structs.replace(workload, image_source="", skipped_images=[]) if workload else None

"""Checkpoints of random weights with a real architecture, for machines without a model hub.

A family is a module with a `CHECKPOINTS` tuple and one line in the table below.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from vlmprof.errors import UsageError
from vlmprof.models import internvl, internvl_hf, qwen3_vl, smolvlm
from vlmprof.models.checkpoint import SCALES, Checkpoint, CheckpointInfo, Scale
from vlmprof.models.folder import describe, write_checkpoint

__all__ = [
    "CHECKPOINTS",
    "SCALES",
    "Checkpoint",
    "CheckpointInfo",
    "Scale",
    "describe",
    "find_checkpoint",
    "make_checkpoint",
]

_FAMILIES = (smolvlm, internvl, internvl_hf, qwen3_vl)

CHECKPOINTS: Mapping[str, Checkpoint] = {
    checkpoint.name: checkpoint for family in _FAMILIES for checkpoint in family.CHECKPOINTS
}


def find_checkpoint(name: str) -> Checkpoint:
    """Look a checkpoint up by its name, in any case.

    Raises:
        UsageError: no checkpoint has that name.
    """
    for known, checkpoint in CHECKPOINTS.items():
        if known.lower() == name.lower():
            return checkpoint
    raise UsageError(f"no checkpoint is called {name}", hint=f"one of: {', '.join(CHECKPOINTS)}")


def make_checkpoint(
    name: str,
    out: Path,
    *,
    scale: Scale,
    seed: int = 0,
    force: bool = False,
    progress: Callable[[str, float], None] | None = None,
) -> CheckpointInfo:
    """Write a checkpoint into a new folder.

    Args:
        scale: `full` has the real layer sizes; `small` keeps everything that the host sees (image
            processing, token counts, vocabulary, prompt format) and shrinks the layers.
        force: replace a folder that was made here before.
        progress: called with a step's name and the fraction of it that is done.

    Raises:
        UsageError: the name is unknown, or the folder holds something.
        FileUnreadable: the folder cannot be written or the disk is full; nothing is left behind.
        ToolMissing: the package `tokenizers` is absent.
    """
    checkpoint = find_checkpoint(name)
    report = progress or (lambda step, fraction: None)
    return write_checkpoint(checkpoint, out, scale=scale, seed=seed, force=force, progress=report)

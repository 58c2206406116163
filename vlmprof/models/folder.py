"""Writing a checkpoint's folder: whole or not at all."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from vlmprof.errors import FileUnreadable, UsageError
from vlmprof.models.checkpoint import Checkpoint, CheckpointInfo, Json, Scale
from vlmprof.models.tokenizer import build_tokenizer, speakable_rows
from vlmprof.models.weights import weights_bytes, write_weights
from vlmprof.units import format_bytes

MARKER = "vlmprof.json"
"""The file that says that a folder was made here and may be replaced."""

_TOKENIZER_BYTES = 10_000_000
_EXAMPLE_IMAGE = (640, 480)

Progress = Callable[[str, float], None]
"""Called with the step's name and the fraction of it that is done."""


def describe(checkpoint: Checkpoint, scale: Scale) -> CheckpointInfo:
    """What the checkpoint would be at this scale, computed from its architecture; nothing is written."""
    config = checkpoint.config(scale)
    tensors = tuple(checkpoint.tensors(config))
    layout = checkpoint.layout(*_EXAMPLE_IMAGE)
    return CheckpointInfo(
        name=checkpoint.name,
        published_as=checkpoint.published_as,
        family=checkpoint.family,
        architecture=config["architectures"][0],
        scale=scale,
        parameters=sum(tensor.parameters for tensor in tensors),
        weights_bytes=weights_bytes(tensors),
        tiling=checkpoint.tiling,
        crops=layout.crops,
        image_tokens=layout.tokens,
        vocabulary_rows=checkpoint.vocabulary.rows,
        serve_args=checkpoint.serve_args,
    )


def write_checkpoint(
    checkpoint: Checkpoint, out: Path, *, scale: Scale, seed: int, force: bool, progress: Progress
) -> CheckpointInfo:
    """Write the checkpoint into `out`, byte for byte the same for the same seed, Python and numpy.

    Raises:
        UsageError: `out` holds something, and `force` is not set or it was not made here.
        FileUnreadable: the disk is full or the folder cannot be written; nothing is left behind.
        ToolMissing: a package is absent.
    """
    info = describe(checkpoint, scale)
    _check_target(out, force=force)
    partial = out.absolute().with_name(f".{out.absolute().name}.partial-{os.getpid()}")
    try:
        _check_space(out, info.weights_bytes + _TOKENIZER_BYTES)
        partial.mkdir(parents=True)
        _write_files(checkpoint, partial, scale=scale, seed=seed, progress=progress)
        _install(partial, out)
    except OSError as error:
        raise _unwritable(out, info, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return replace(info, seed=seed, path=out)


def _write_files(
    checkpoint: Checkpoint, folder: Path, *, scale: Scale, seed: int, progress: Progress
) -> None:
    config = checkpoint.config(scale)
    progress("tokenizer", 0.0)
    tokenizer = build_tokenizer(checkpoint.vocabulary)
    progress("tokenizer", 1.0)
    for name, content in {"config.json": config, **checkpoint.files()}.items():
        text = content if isinstance(content, str) else json.dumps(content, indent=2) + "\n"
        (folder / name).write_text(text, encoding="utf-8")
    compact = json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":"))
    (folder / "tokenizer.json").write_text(compact, encoding="utf-8")
    (folder / MARKER).write_text(json.dumps(_marker(checkpoint, scale, seed), indent=2) + "\n")
    write_weights(
        folder / "model.safetensors",
        tuple(checkpoint.tensors(config)),
        seed=seed,
        speakable=speakable_rows(tokenizer, checkpoint.vocabulary),
        progress=lambda fraction: progress("weights", fraction),
    )


def _marker(checkpoint: Checkpoint, scale: Scale, seed: int) -> Json:
    return {
        "name": checkpoint.name,
        "architecture_of": checkpoint.published_as,
        "scale": scale,
        "seed": seed,
        "weights": "random",
    }


def _check_target(out: Path, *, force: bool) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise UsageError(f"{out} is a file", hint="name a folder with --out")
    if not any(out.iterdir()):
        return
    if not force:
        raise UsageError(f"{out} is not empty", hint="name another folder with --out, or pass --force")
    if not (out / MARKER).exists():
        raise UsageError(
            f"{out} was not made by `vlmprof models make`: --force does not replace it",
            hint="name another folder with --out, or delete it yourself",
        )


def _check_space(out: Path, needed_bytes: int) -> None:
    existing = next(folder for folder in out.absolute().parents if folder.exists())
    if shutil.disk_usage(existing).free < needed_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _install(partial: Path, out: Path) -> None:
    if out.exists():
        shutil.rmtree(out)
    partial.rename(out)


def _unwritable(out: Path, info: CheckpointInfo, error: OSError) -> FileUnreadable:
    if error.errno == errno.ENOSPC:
        size = format_bytes(info.weights_bytes + _TOKENIZER_BYTES)
        return FileUnreadable(
            f"no room for {info.name} ({info.scale}, {size}) at {out}",
            hint="free some space, name another disk with --out, or pass --scale small",
        )
    return FileUnreadable(
        f"cannot write {out}: {error.strerror or error}", hint="name another folder with --out"
    )

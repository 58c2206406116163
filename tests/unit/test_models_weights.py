"""Random weights: reproducible, readable by safetensors, silent for tokens that print nothing."""

from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from vlmprof.models import weights
from vlmprof.models.checkpoint import Init, TensorSpec
from vlmprof.models.weights import Speakable, weights_bytes, write_weights

HEAD = TensorSpec("head", (6, 50), Init.HEAD)
TENSORS = (
    TensorSpec("embedding", (6, 50), Init.EMBEDDING),
    TensorSpec("linear", (300, 400), Init.FAN_IN),
    TensorSpec("query", (300, 400), Init.QUERY_KEY),
    TensorSpec("norm", (7,), Init.ONES),
    TensorSpec("bias", (7,), Init.ZEROS),
    TensorSpec("query_norm", (7,), Init.DOUBLED),
    TensorSpec("layer_scale", (7,), Init.LAYER_SCALE),
    HEAD,
)
SPEAKABLE: Speakable = np.array([True, False, True, False, True, True])


def _write(path: Path, tensors: tuple[TensorSpec, ...] = TENSORS, seed: int = 0) -> bytes:
    write_weights(path, tensors, seed=seed, speakable=SPEAKABLE, progress=lambda fraction: None)
    return path.read_bytes()


def _read(path: Path) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name).float().numpy() for name in file.keys()}  # noqa: SIM118


def test_safetensors_reads_every_tensor_in_its_shape(tmp_path: Path) -> None:
    """`weights_bytes` is the file's size: 8 bytes, the header, two bytes a value."""
    content = _write(tmp_path / "model.safetensors")
    read = _read(tmp_path / "model.safetensors")
    assert {name: value.shape for name, value in read.items()} == {
        tensor.name: tensor.shape for tensor in TENSORS
    }
    assert len(content) == weights_bytes(TENSORS)


def test_values_have_the_spread_of_their_kind(tmp_path: Path) -> None:
    """120000 values of a layer with 400 inputs: deviation 400^-1/2 = 0.05, within 1%; queries twice that."""
    _write(tmp_path / "model.safetensors")
    read = _read(tmp_path / "model.safetensors")
    assert read["linear"].std() == pytest.approx(0.05, rel=0.01)
    assert read["query"].std() == pytest.approx(0.1, rel=0.01)
    assert read["embedding"].std() == pytest.approx(0.02, rel=0.2)
    assert (read["norm"] == 1).all()
    assert (read["bias"] == 0).all()
    assert (read["query_norm"] == 2).all()
    assert read["layer_scale"] == pytest.approx(0.1, rel=0.004)


def test_tokens_that_print_nothing_have_a_zero_row_in_the_head(tmp_path: Path) -> None:
    """Rows 1 and 3 are silent; the embedding keeps all its rows, a silent token can still be read."""
    _write(tmp_path / "model.safetensors")
    read = _read(tmp_path / "model.safetensors")
    assert [bool(row.any()) for row in read["head"]] == SPEAKABLE.tolist()
    assert all(row.any() for row in read["embedding"])


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    first = _write(tmp_path / "first", seed=3)
    assert first == _write(tmp_path / "second", seed=3)
    assert first != _write(tmp_path / "third", seed=4)


def test_values_do_not_depend_on_the_size_of_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 2000 values cut the 300x400 layers into 60 blocks of 5 rows, the head into one of 6."""
    whole = _write(tmp_path / "whole")
    monkeypatch.setattr(weights, "_BLOCK_VALUES", 2000)
    assert _write(tmp_path / "blocks") == whole


def test_values_do_not_depend_on_the_other_tensors(tmp_path: Path) -> None:
    _write(tmp_path / "all")
    _write(tmp_path / "one", (HEAD,))
    assert (_read(tmp_path / "all")["head"] == _read(tmp_path / "one")["head"]).all()


def test_progress_ends_at_one(tmp_path: Path) -> None:
    seen: list[float] = []
    write_weights(tmp_path / "model", TENSORS, seed=0, speakable=SPEAKABLE, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0

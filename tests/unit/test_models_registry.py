"""The checkpoints that can be made: their sizes, token ids and image geometry."""

import json

import pytest

from vlmprof.errors import UsageError
from vlmprof.models import CHECKPOINTS, SCALES, describe, find_checkpoint


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("SmolVLM-256M", 256_484_928),
        ("SmolVLM-500M", 507_482_304),
        ("SmolVLM-2.2B", 2_246_272_880),
        ("InternVL3-2B", 2_088_957_440),
        ("InternVL3-2B-hf", 2_088_957_440),
        ("Qwen3-VL-2B", 2_127_532_032),
    ],
)
def test_full_scale_has_the_published_number_of_parameters(name: str, parameters: int) -> None:
    """The numbers are those of the published checkpoints, to the last parameter."""
    assert describe(CHECKPOINTS[name], "full").parameters == parameters


@pytest.mark.parametrize(
    ("name", "crops", "image_tokens"),
    [
        ("SmolVLM-256M", 13, 832),
        ("SmolVLM-500M", 13, 832),
        ("SmolVLM-2.2B", 13, 1053),
        ("InternVL3-2B", 13, 3328),
        ("InternVL3-2B-hf", 13, 3328),
        ("Qwen3-VL-2B", 1, 300),
    ],
)
def test_a_coco_sized_image_costs_what_the_geometry_says(name: str, crops: int, image_tokens: int) -> None:
    """640x480 has the ratio 4:3.

    SmolVLM: 4x3 tiles and the whole image, 13 x (512 / 16)^2 / 4^2 = 13 x 64 = 832; the 2.2B has
    13 x 27^2 / 3^2 = 13 x 81 = 1053. InternVL: 4x3 tiles and a thumbnail, 13 x 32^2 / 4 = 13 x 256 = 3328.
    Qwen3-VL: 20 x 15 squares of 32 pixels = 300.
    """
    info = describe(CHECKPOINTS[name], "small")
    assert (info.crops, info.image_tokens) == (crops, image_tokens)


@pytest.mark.parametrize(
    ("name", "token", "token_id"),
    [
        ("SmolVLM-256M", "<global-img>", 49152),
        ("SmolVLM-256M", "<row_6_col_6>", 49188),
        ("SmolVLM-256M", "<fake_token_around_image>", 49189),
        ("SmolVLM-256M", "<image>", 49190),
        ("SmolVLM-256M", "<end_of_utterance>", 49279),
        ("SmolVLM-2.2B", "<image>", 49153),
        ("SmolVLM-2.2B", "<end_of_utterance>", 49154),
        ("InternVL3-2B", "<|im_end|>", 151645),
        ("InternVL3-2B", "<img>", 151665),
        ("InternVL3-2B", "<IMG_CONTEXT>", 151667),
        ("InternVL3-2B", "</box>", 151673),
        ("InternVL3-2B-hf", "<video>", 151674),
        ("Qwen3-VL-2B", "<|vision_start|>", 151652),
        ("Qwen3-VL-2B", "<|image_pad|>", 151655),
        ("Qwen3-VL-2B", "</think>", 151668),
    ],
)
def test_special_tokens_have_their_real_ids(name: str, token: str, token_id: int) -> None:
    """Ids as the published tokenizers give them."""
    assert CHECKPOINTS[name].vocabulary.id_of(token) == token_id


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_added_tokens_beyond_the_ordinary_ones_follow_without_a_gap(name: str) -> None:
    """A tokenizer numbers its added tokens itself, from the first free id on."""
    vocabulary = CHECKPOINTS[name].vocabulary
    beyond = [token.id for token in vocabulary.added if token.id >= vocabulary.ordinary]
    assert beyond == list(range(vocabulary.ordinary, vocabulary.ordinary + len(beyond)))


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_small_differs_from_full_in_layer_sizes_only(name: str) -> None:
    """Whatever the host sees (vocabulary, tile and patch sizes, token ids) is the same number in both."""
    layers = {
        "deepstack_visual_indexes",
        "depth",
        "hidden_size",
        "intermediate_size",
        "num_attention_heads",
        "num_heads",
        "num_hidden_layers",
        "num_key_value_heads",
        "out_hidden_size",
    }
    full, small = (CHECKPOINTS[name].config(scale) for scale in SCALES)
    assert _without(full, layers) == _without(small, layers)
    assert describe(CHECKPOINTS[name], "small").parameters < 20_000_000


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_every_tensor_has_its_own_name_and_every_file_is_json_or_text(name: str) -> None:
    checkpoint = CHECKPOINTS[name]
    for scale in SCALES:
        names = [tensor.name for tensor in checkpoint.tensors(checkpoint.config(scale))]
        assert len(names) == len(set(names))
    for content in checkpoint.files().values():
        assert isinstance(content, str) or json.dumps(content)


def test_a_name_is_found_in_any_case() -> None:
    assert find_checkpoint("smolvlm-256m").name == "SmolVLM-256M"


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="SmolVLM-3B") as caught:
        find_checkpoint("SmolVLM-3B")
    assert "SmolVLM-256M, SmolVLM-500M" in caught.value.hint
    assert caught.value.exit_code == 2


def _without(value: object, keys: set[str]) -> object:
    if not isinstance(value, dict):
        return value
    return {key: _without(item, keys) for key, item in value.items() if key not in keys}

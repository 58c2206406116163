"""Qwen3-VL-2B: a vision transformer with deepstack and Qwen3-1.7B; images keep their shape, without tiles.

Sources:
    config.json and preprocessor_config.json of Qwen/Qwen3-VL-2B-Instruct as quoted in public issues and
    ports. The parameter count of the checkpoint as made here is that of the published one, 2,127,532,032.
"""

import math
from collections.abc import Iterator, Mapping

from vlmprof.models.checkpoint import Checkpoint, ImageLayout, Init, Json, Scale, TensorSpec
from vlmprof.models.layers import decoder, layer_norm, linear
from vlmprof.models.qwen_tokens import END_OF_TEXT, END_OF_TURN, qwen_vocabulary

_PATCH = 16
_MERGE = 2
_MIN_PIXELS = 256 * 256
_MAX_PIXELS = 4096 * 4096
_ROWS = 151_936

# 151669 tokens; the other rows of the embedding have none, as in the published checkpoint.
_VOCABULARY = qwen_vocabulary(_ROWS, visible=("<tool_response>", "</tool_response>", "<think>", "</think>"))

# Source: the published template without its branches for tools.
_CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\n' }}"
    "{%- if message.content is string %}{{- message.content }}"
    "{%- else %}{%- for content in message.content %}"
    "{%- if content.type == 'image' or 'image' in content or 'image_url' in content %}"
    "{{- '<|vision_start|><|image_pad|><|vision_end|>' }}"
    "{%- elif content.type == 'video' or 'video' in content %}"
    "{{- '<|vision_start|><|video_pad|><|vision_end|>' }}"
    "{%- elif 'text' in content %}{{- content.text }}{%- endif %}"
    "{%- endfor %}{%- endif %}"
    "{{- '<|im_end|>\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)

_TEXT = {
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "num_attention_heads": 16,
    "num_hidden_layers": 28,
    "num_key_value_heads": 8,
}
# Deepstack adds one vision feature to each of the first three layers, so both towers keep more than three.
_SMALL_TEXT = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 2,
    "num_hidden_layers": 4,
    "num_key_value_heads": 1,
}
_VISION = {
    "depth": 24,
    "deepstack_visual_indexes": [5, 11, 17],
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_heads": 16,
}
_SMALL_VISION = {
    "depth": 4,
    "deepstack_visual_indexes": [0, 1, 2],
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_heads": 1,
}


def _config(scale: Scale) -> Json:
    text = _SMALL_TEXT if scale == "small" else _TEXT
    vision = _SMALL_VISION if scale == "small" else _VISION
    return {
        "architectures": ["Qwen3VLForConditionalGeneration"],
        "model_type": "qwen3_vl",
        "image_token_id": _VOCABULARY.id_of("<|image_pad|>"),
        "video_token_id": _VOCABULARY.id_of("<|video_pad|>"),
        "vision_start_token_id": _VOCABULARY.id_of("<|vision_start|>"),
        "vision_end_token_id": _VOCABULARY.id_of("<|vision_end|>"),
        "tie_word_embeddings": True,
        "transformers_version": "4.57.0",
        "text_config": {
            "model_type": "qwen3_vl_text",
            "attention_bias": False,
            "attention_dropout": 0.0,
            "bos_token_id": _VOCABULARY.id_of(END_OF_TEXT),
            "eos_token_id": _VOCABULARY.id_of(END_OF_TURN),
            "dtype": "bfloat16",
            "head_dim": 128,
            "hidden_act": "silu",
            "initializer_range": 0.02,
            "max_position_embeddings": 262_144,
            "rms_norm_eps": 1e-06,
            "rope_scaling": {
                "mrope_interleaved": True,
                "mrope_section": [24, 20, 20],
                "rope_type": "default",
            },
            "rope_theta": 5_000_000,
            "tie_word_embeddings": True,
            "use_cache": True,
            "vocab_size": _ROWS,
            **text,
        },
        "vision_config": {
            "model_type": "qwen3_vl",
            "hidden_act": "gelu_pytorch_tanh",
            "in_channels": 3,
            "initializer_range": 0.02,
            "num_position_embeddings": 2304,
            "out_hidden_size": text["hidden_size"],
            "patch_size": _PATCH,
            "spatial_merge_size": _MERGE,
            "temporal_patch_size": 2,
            **vision,
        },
    }


def _tensors(config: Json) -> Iterator[TensorSpec]:
    vision = config["vision_config"]
    hidden, outputs = vision["hidden_size"], vision["out_hidden_size"]
    merged = hidden * _MERGE**2
    yield from decoder("model.language_model", config["text_config"], qk_norm=True)
    patch = (hidden, 3, vision["temporal_patch_size"], _PATCH, _PATCH)
    yield TensorSpec("model.visual.patch_embed.proj.weight", patch, Init.FAN_IN)
    yield TensorSpec("model.visual.patch_embed.proj.bias", (hidden,), Init.ZEROS)
    positions = (vision["num_position_embeddings"], hidden)
    yield TensorSpec("model.visual.pos_embed.weight", positions, Init.EMBEDDING)
    for index in range(vision["depth"]):
        yield from _vision_block(f"model.visual.blocks.{index}", vision)
    yield from _merger("model.visual.merger", merged, outputs, norm_size=hidden)
    for index in range(len(vision["deepstack_visual_indexes"])):
        name = f"model.visual.deepstack_merger_list.{index}"
        yield from _merger(name, merged, outputs, norm_size=merged)


def _vision_block(block: str, vision: Json) -> Iterator[TensorSpec]:
    hidden, inner = vision["hidden_size"], vision["intermediate_size"]
    yield from layer_norm(f"{block}.norm1", hidden)
    yield from layer_norm(f"{block}.norm2", hidden)
    yield from linear(f"{block}.attn.qkv", 3 * hidden, hidden, bias=True)
    yield from linear(f"{block}.attn.proj", hidden, hidden, bias=True)
    yield from linear(f"{block}.mlp.linear_fc1", inner, hidden, bias=True)
    yield from linear(f"{block}.mlp.linear_fc2", hidden, inner, bias=True)


def _merger(name: str, merged: int, outputs: int, *, norm_size: int) -> Iterator[TensorSpec]:
    yield from layer_norm(f"{name}.norm", norm_size)
    yield from linear(f"{name}.linear_fc1", merged, merged, bias=True)
    yield from linear(f"{name}.linear_fc2", outputs, merged, bias=True)


def _files() -> Mapping[str, Json | str]:
    pixels = {
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "merge_size": _MERGE,
        "patch_size": _PATCH,
        "processor_class": "Qwen3VLProcessor",
        "temporal_patch_size": 2,
    }
    image_size = {"longest_edge": _MAX_PIXELS, "shortest_edge": _MIN_PIXELS}
    video_size = {"longest_edge": 25_165_824, "shortest_edge": 4096}
    return {
        "generation_config.json": {
            "bos_token_id": _VOCABULARY.id_of(END_OF_TEXT),
            "eos_token_id": [_VOCABULARY.id_of(END_OF_TURN), _VOCABULARY.id_of(END_OF_TEXT)],
            "pad_token_id": _VOCABULARY.id_of(END_OF_TEXT),
            "do_sample": True,
            "temperature": 0.7,
            "top_k": 20,
            "top_p": 0.8,
        },
        "preprocessor_config.json": {
            **pixels,
            "image_processor_type": "Qwen2VLImageProcessorFast",
            "size": image_size,
        },
        "video_preprocessor_config.json": {
            **pixels,
            "video_processor_type": "Qwen3VLVideoProcessor",
            "size": video_size,
        },
        "tokenizer_config.json": {
            "tokenizer_class": "Qwen2Tokenizer",
            "processor_class": "Qwen3VLProcessor",
            "add_prefix_space": False,
            "bos_token": None,
            "eos_token": END_OF_TURN,
            "pad_token": END_OF_TEXT,
            "unk_token": None,
            "clean_up_tokenization_spaces": False,
            "model_max_length": 262_144,
        },
        "chat_template.jinja": _CHAT_TEMPLATE,
    }


def _layout(width: int, height: int) -> ImageLayout:
    """One image token per 32x32 pixels once both sides are multiples of 32 and the area is within limits.

    Source: transformers, models/qwen2_vl/image_processing_qwen2_vl.py, smart_resize.
    """
    unit = _PATCH * _MERGE
    rows, columns = round(height / unit), round(width / unit)
    if rows * columns * unit**2 > _MAX_PIXELS:
        shrink = math.sqrt(width * height / _MAX_PIXELS)
        rows = max(1, math.floor(height / shrink / unit))
        columns = max(1, math.floor(width / shrink / unit))
    elif rows * columns * unit**2 < _MIN_PIXELS:
        grow = math.sqrt(_MIN_PIXELS / (width * height))
        rows, columns = math.ceil(height * grow / unit), math.ceil(width * grow / unit)
    return ImageLayout(1, rows * columns)


CHECKPOINTS = (
    Checkpoint(
        name="Qwen3-VL-2B",
        published_as="Qwen/Qwen3-VL-2B-Instruct",
        family="Qwen3-VL",
        tiling="none",
        vocabulary=_VOCABULARY,
        config=_config,
        tensors=_tensors,
        files=_files,
        layout=_layout,
    ),
)

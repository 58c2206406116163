"""InternVL3-2B-hf: the same model converted to the names and files that transformers reads itself.

Sources:
    transformers, models/internvl/convert_internvl_weights_to_hf.py; processor dumps of
    OpenGVLab/InternVL3-1B-hf in public issues, for its image processor and token ids.
"""

from collections.abc import Iterator, Mapping

from vlmprof.models.checkpoint import Checkpoint, Init, Json, Scale, TensorSpec
from vlmprof.models.internvl import (
    MAX_TILES,
    OWN_TOKENS,
    PATCH,
    ROWS,
    TILE,
    TILING,
    TOKENS_PER_TILE,
    embeddings,
    layout,
    projector,
    text_config,
    tokenizer_config,
    vision_mlp,
    vision_sizes,
)
from vlmprof.models.layers import decoder, head, layer_norm, linear
from vlmprof.models.qwen_tokens import END_OF_TEXT, END_OF_TURN, qwen_vocabulary

# The published conversion too has 151674 rows and a token 151674: `<video>` is replaced before the model.
_VOCABULARY = qwen_vocabulary(ROWS, special=(*OWN_TOKENS, "<video>"))

# Source: transformers, models/internvl/convert_internvl_weights_to_hf.py; since its change 37656 an image
# is written as `<IMG_CONTEXT>`.
_CHAT_TEMPLATE = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n'}}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for content in message['content'] %}"
    "{% if content['type'] == 'image' %}{{ '<IMG_CONTEXT>\n' }}"
    "{% elif content['type'] == 'video' %}{{ '<video>\n' }}"
    "{% elif content['type'] == 'text' %}{{ content['text'] }}{% endif %}"
    "{% endfor %}{% endif %}{{'<|im_end|>\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{'<|im_start|>assistant\n' }}{% endif %}"
)


def _config(scale: Scale) -> Json:
    return {
        "architectures": ["InternVLForConditionalGeneration"],
        "model_type": "internvl",
        "downsample_ratio": 0.5,
        "image_seq_length": TOKENS_PER_TILE,
        "image_token_id": _VOCABULARY.id_of("<IMG_CONTEXT>"),
        "projector_hidden_act": "gelu",
        # The published file leaves it out, and newer versions of transformers then tie a head that is not.
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.52.1",
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "default",
        "text_config": text_config(scale, end=END_OF_TURN),
        "vision_config": {
            "model_type": "internvl_vision",
            "attention_bias": True,
            "attention_dropout": 0.0,
            "hidden_dropout_prob": 0.0,
            "image_size": [TILE, TILE],
            "layer_scale_init_value": 0.1,
            "patch_size": [PATCH, PATCH],
            "projection_dropout": 0.0,
            "use_absolute_position_embeddings": True,
            "use_mask_token": False,
            "use_mean_pooling": True,
            "use_qk_norm": False,
            **vision_sizes(scale),
        },
    }


def _tensors(config: Json) -> Iterator[TensorSpec]:
    vision, text = config["vision_config"], config["text_config"]
    yield from decoder("language_model.model", text, qkv_bias=True)
    yield from head("language_model.lm_head", text)
    prefix = "multi_modal_projector"
    yield from projector(f"{prefix}.layer_norm", f"{prefix}.linear_1", f"{prefix}.linear_2", vision, text)
    names = "cls_token", "position_embeddings", "patch_embeddings.projection"
    yield from embeddings("vision_tower.embeddings", vision["hidden_size"], names)
    for index in range(vision["num_hidden_layers"]):
        yield from _vision_layer(f"vision_tower.encoder.layer.{index}", vision)


def _vision_layer(layer: str, vision: Json) -> Iterator[TensorSpec]:
    hidden = vision["hidden_size"]
    for projection in ("q_proj", "k_proj", "v_proj", "projection_layer"):
        yield from linear(f"{layer}.attention.{projection}", hidden, hidden, bias=True)
    yield from vision_mlp(layer, vision)
    yield from layer_norm(f"{layer}.layernorm_before", hidden)
    yield from layer_norm(f"{layer}.layernorm_after", hidden)
    yield from (
        TensorSpec(f"{layer}.{name}", (hidden,), Init.LAYER_SCALE) for name in ("lambda_1", "lambda_2")
    )


def _files() -> Mapping[str, Json | str]:
    pixels = {
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
        "processor_class": "InternVLProcessor",
        "resample": 3,
        "rescale_factor": 1 / 255,
        "size": {"height": TILE, "width": TILE},
    }
    image = {
        **pixels,
        "image_processor_type": "GotOcr2ImageProcessor",
        # As published: the processor's own default, True, wins when it is called.
        "crop_to_patches": False,
        "max_patches": MAX_TILES,
        "min_patches": 1,
    }
    named = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    processor = {"processor_class": "InternVLProcessor", "extra_special_tokens": named}
    end = _VOCABULARY.id_of(END_OF_TURN)
    return {
        "generation_config.json": {"eos_token_id": end, "pad_token_id": _VOCABULARY.id_of(END_OF_TEXT)},
        "preprocessor_config.json": image,
        "video_preprocessor_config.json": {**pixels, "video_processor_type": "InternVLVideoProcessor"},
        "processor_config.json": {
            "image_seq_length": TOKENS_PER_TILE,
            "processor_class": "InternVLProcessor",
        },
        "tokenizer_config.json": {**tokenizer_config(), **processor},
        "chat_template.jinja": _CHAT_TEMPLATE,
    }


CHECKPOINTS = (
    Checkpoint(
        name="InternVL3-2B-hf",
        published_as="OpenGVLab/InternVL3-2B-hf",
        family="InternVL",
        tiling=TILING,
        vocabulary=_VOCABULARY,
        config=_config,
        tensors=_tensors,
        files=_files,
        layout=layout,
    ),
)

"""InternVL3-2B in OpenGVLab's own form: InternViT-300M and Qwen2.5-1.5B.

vLLM has the model (`InternVLChatModel`); its config class comes with the checkpoint, as in the published
one, hence `--trust-remote-code`. What the form for transformers shares with it is public here.

Sources:
    config.json of OpenGVLab/InternVL3-2B as quoted in public forks; vllm, model_executor/models/internvl.py
    and intern_vit.py, for the tensors' names; OpenGVLab/InternVL issue 1094 for the chat template. The
    parameter count of the checkpoint as made here is that of the published one, 2,088,957,440.
"""

from collections.abc import Iterator, Mapping
from itertools import chain

from vlmprof.models.checkpoint import Checkpoint, ImageLayout, Init, Json, Scale, TensorSpec
from vlmprof.models.layers import decoder, head, layer_norm, linear
from vlmprof.models.qwen_tokens import END_OF_TEXT, END_OF_TURN, qwen_vocabulary

TILE = 448
PATCH = 14
MAX_TILES = 12
TOKENS_PER_TILE = (TILE // PATCH // 2) ** 2
ROWS = 151_674

OWN_TOKENS = (
    "<img>",
    "</img>",
    "<IMG_CONTEXT>",
    "<quad>",
    "</quad>",
    "<ref>",
    "</ref>",
    "<box>",
    "</box>",
)
_VOCABULARY = qwen_vocabulary(ROWS, special=OWN_TOKENS)

# Source: Qwen2.5's chat template without its branch for tools; InternVL3 inherits the system message.
_CHAT_TEMPLATE = (
    "{%- if messages[0]['role'] != 'system' %}"
    "{{- '<|im_start|>system\n"
    "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n' }}"
    "{%- endif %}"
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)

_CONFIG_CLASS = '''\
"""The config class that config.json names: InternViT's and Qwen2's settings side by side."""

from transformers import PretrainedConfig, Qwen2Config


class InternVLChatConfig(PretrainedConfig):
    model_type = "internvl_chat"

    def __init__(self, vision_config=None, llm_config=None, **kwargs):
        self.vision_config = PretrainedConfig(**(vision_config or {}))
        self.llm_config = Qwen2Config(**(llm_config or {}))
        super().__init__(**kwargs)

    def to_dict(self):
        own = super().to_dict()
        return {**own, "vision_config": self.vision_config.to_dict(), "llm_config": self.llm_config.to_dict()}
'''

_TEXT = {
    "hidden_size": 1536,
    "intermediate_size": 8960,
    "num_attention_heads": 12,
    "num_hidden_layers": 28,
    "num_key_value_heads": 2,
}
_SMALL_TEXT = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "num_key_value_heads": 1,
}
_VISION = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_attention_heads": 16,
    "num_hidden_layers": 24,
}
_SMALL_VISION = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 1,
    "num_hidden_layers": 1,
}


def text_config(scale: Scale, *, end: str) -> Json:
    """Settings of the language model; `end` is the token that ends its answer."""
    return {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "attention_dropout": 0.0,
        "bos_token_id": _VOCABULARY.id_of(END_OF_TEXT),
        "eos_token_id": _VOCABULARY.id_of(end),
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "max_position_embeddings": 32_768,
        "max_window_layers": 70,
        "rms_norm_eps": 1e-06,
        "rope_scaling": {"factor": 2.0, "rope_type": "dynamic", "type": "dynamic"},
        "rope_theta": 1_000_000.0,
        "sliding_window": None,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "use_sliding_window": False,
        "vocab_size": ROWS,
        **(_SMALL_TEXT if scale == "small" else _TEXT),
    }


def vision_sizes(scale: Scale) -> Json:
    """Settings of the vision tower that both forms call by the same names."""
    return {
        "hidden_act": "gelu",
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-06,
        "norm_type": "layer_norm",
        "num_channels": 3,
        "torch_dtype": "bfloat16",
        **(_SMALL_VISION if scale == "small" else _VISION),
    }


def _config(scale: Scale) -> Json:
    text = text_config(scale, end=END_OF_TEXT)
    return {
        "architectures": ["InternVLChatModel"],
        "auto_map": {"AutoConfig": "configuration_internvl_chat.InternVLChatConfig"},
        "model_type": "internvl_chat",
        "downsample_ratio": 0.5,
        "dynamic_image_size": True,
        "force_image_size": TILE,
        "hidden_size": text["hidden_size"],
        "llm_config": text,
        "max_dynamic_patch": MAX_TILES,
        "min_dynamic_patch": 1,
        "pad2square": False,
        "ps_version": "v2",
        "select_layer": -1,
        "template": "internvl2_5",
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.48.3",
        "use_thumbnail": True,
        "vision_config": {
            "architectures": ["InternVisionModel"],
            "model_type": "intern_vit_6b",
            "attention_dropout": 0.0,
            "drop_path_rate": 0.0,
            "dropout": 0.0,
            "image_size": TILE,
            "initializer_factor": 1.0,
            "patch_size": PATCH,
            "qk_normalization": False,
            "qkv_bias": True,
            **vision_sizes(scale),
        },
    }


def _tensors(config: Json) -> Iterator[TensorSpec]:
    vision, text = config["vision_config"], config["llm_config"]
    yield from decoder("language_model.model", text, qkv_bias=True)
    yield from head("language_model.lm_head", text)
    yield from projector("mlp1.0", "mlp1.1", "mlp1.3", vision, text)
    names = "class_embedding", "position_embedding", "patch_embedding"
    yield from embeddings("vision_model.embeddings", vision["hidden_size"], names)
    for index in range(vision["num_hidden_layers"]):
        yield from _vision_layer(f"vision_model.encoder.layers.{index}", vision)


def projector(norm: str, first: str, second: str, vision: Json, text: Json) -> Iterator[TensorSpec]:
    """The projector from four neighbouring patches to one token, under the names of its three layers."""
    shuffled = 4 * vision["hidden_size"]
    yield from layer_norm(norm, shuffled)
    yield from linear(first, text["hidden_size"], shuffled, bias=True)
    yield from linear(second, text["hidden_size"], text["hidden_size"], bias=True)


def embeddings(prefix: str, hidden: int, names: tuple[str, str, str]) -> Iterator[TensorSpec]:
    """Class token, positions and patch projection of the vision tower; `names` in this order."""
    first, positions, patches = (f"{prefix}.{name}" for name in names)
    yield TensorSpec(first, (1, 1, hidden), Init.EMBEDDING)
    yield TensorSpec(positions, (1, (TILE // PATCH) ** 2 + 1, hidden), Init.EMBEDDING)
    yield TensorSpec(f"{patches}.weight", (hidden, 3, PATCH, PATCH), Init.FAN_IN)
    yield TensorSpec(f"{patches}.bias", (hidden,), Init.ZEROS)


def _vision_layer(layer: str, vision: Json) -> Iterator[TensorSpec]:
    hidden = vision["hidden_size"]
    yield from linear(f"{layer}.attn.qkv", 3 * hidden, hidden, bias=True)
    yield from linear(f"{layer}.attn.proj", hidden, hidden, bias=True)
    yield from vision_mlp(layer, vision)
    yield from chain(layer_norm(f"{layer}.norm1", hidden), layer_norm(f"{layer}.norm2", hidden))
    yield from (TensorSpec(f"{layer}.{name}", (hidden,), Init.LAYER_SCALE) for name in ("ls1", "ls2"))


def vision_mlp(layer: str, vision: Json) -> Iterator[TensorSpec]:
    """The two dense layers of one layer of the vision tower."""
    yield from linear(f"{layer}.mlp.fc1", vision["intermediate_size"], vision["hidden_size"], bias=True)
    yield from linear(f"{layer}.mlp.fc2", vision["hidden_size"], vision["intermediate_size"], bias=True)


def tokenizer_config() -> Json:
    """`tokenizer_config.json` as far as both forms agree."""
    return {
        "tokenizer_class": "Qwen2Tokenizer",
        "add_prefix_space": False,
        "bos_token": None,
        "eos_token": END_OF_TURN,
        "pad_token": END_OF_TEXT,
        "unk_token": None,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 8192,
    }


def _files() -> Mapping[str, Json | str]:
    end = _VOCABULARY.id_of(END_OF_TURN)
    return {
        "configuration_internvl_chat.py": _CONFIG_CLASS,
        "generation_config.json": {"eos_token_id": [end]},
        # vLLM tiles images by config.json; the published file names a CLIP processor that nothing uses.
        "preprocessor_config.json": {
            "crop_size": TILE,
            "do_center_crop": True,
            "do_normalize": True,
            "do_resize": True,
            "feature_extractor_type": "CLIPFeatureExtractor",
            "image_mean": [0.485, 0.456, 0.406],
            "image_std": [0.229, 0.224, 0.225],
            "resample": 3,
            "size": TILE,
        },
        "tokenizer_config.json": tokenizer_config(),
        "chat_template.jinja": _CHAT_TEMPLATE,
    }


def layout(width: int, height: int) -> ImageLayout:
    """The grid of at most 12 tiles whose shape is nearest to the image's, and a thumbnail unless it is one.

    Among equally good grids the larger wins while it has less than twice the image's area.
    Source: vllm, transformers_utils/processors/internvl.py, find_closest_aspect_ratio.
    """
    grids = [
        (columns, rows) for columns in range(1, 13) for rows in range(1, 13) if columns * rows <= MAX_TILES
    ]
    best, best_difference = (1, 1), float("inf")
    for columns, rows in sorted(grids, key=lambda grid: grid[0] * grid[1]):
        difference = abs(width / height - columns / rows)
        affordable = width * height > 0.5 * TILE**2 * columns * rows
        if difference < best_difference or (difference == best_difference and affordable):
            best, best_difference = (columns, rows), difference
    tiles = best[0] * best[1]
    crops = tiles + (tiles > 1)
    return ImageLayout(crops, crops * TOKENS_PER_TILE)


TILING = f"{MAX_TILES} of {TILE} + 1"

CHECKPOINTS = (
    Checkpoint(
        name="InternVL3-2B",
        published_as="OpenGVLab/InternVL3-2B",
        family="InternVL",
        tiling=TILING,
        vocabulary=_VOCABULARY,
        config=_config,
        tensors=_tensors,
        files=_files,
        layout=layout,
        serve_args=("--trust-remote-code",),
    ),
)

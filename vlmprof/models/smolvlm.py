"""SmolVLM, first generation (256M, 500M, 2.2B): Idefics3 with SigLIP and SmolLM2.

Sources:
    HuggingFaceTB/SmolVLM-256M-Instruct, -500M-Instruct and SmolVLM-Instruct: config.json,
    preprocessor_config.json and processor_config.json as quoted in public ports of the models; defaults
    that those files leave out from transformers, models/idefics3. The parameter count of the 256M
    checkpoint as made here is that of the published one, 256,484,928.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from vlmprof.models.checkpoint import (
    AddedToken,
    Checkpoint,
    ImageLayout,
    Init,
    Json,
    PreTokenizer,
    Scale,
    TensorSpec,
    Vocabulary,
)
from vlmprof.models.layers import decoder, head, layer_norm, linear

_ORDINARY_TOKENS = 49_152

# Source: SmolLM2's tokenizer (also transformers' list of SmolLM special tokens): ids 0 to 16.
_SMOLLM_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<repo_name>",
    "<reponame>",
    "<file_sep>",
    "<filename>",
    "<gh_stars>",
    "<issue_start>",
    "<issue_comment>",
    "<issue_closed>",
    "<jupyter_start>",
    "<jupyter_text>",
    "<jupyter_code>",
    "<jupyter_output>",
    "<jupyter_script>",
    "<empty_output>",
)
_GRID_TOKENS = (
    "<global-img>",
    *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)),
)
_IMAGE_TOKENS = ("<fake_token_around_image>", "<image>")
_RESERVED_TOKENS = tuple(f"<|reserved_special_token_{index}|>" for index in range(88))
_END = "<end_of_utterance>"

# Source: chat_template of the three checkpoints; transformers, models/smolvlm/processing_smolvlm.py, has it
# with a branch for videos.
_CHAT_TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}"
    "{% if message['content'][0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)

_SMALL_VISION = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
}
_SMALL_TEXT = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}


def _vocabulary(*after: str) -> Vocabulary:
    tokens = [AddedToken(index, text) for index, text in enumerate(_SMOLLM_TOKENS)]
    tokens += [AddedToken(_ORDINARY_TOKENS + index, text) for index, text in enumerate(after)]
    return Vocabulary(PreTokenizer.SMOLLM, _ORDINARY_TOKENS, _ORDINARY_TOKENS + len(after), tuple(tokens))


_TILE_VOCABULARY = _vocabulary(*_GRID_TOKENS, *_IMAGE_TOKENS, *_RESERVED_TOKENS, _END)
"""256M and 500M: 49280 rows, `<image>` is 49190, `<end_of_utterance>` 49279."""

_PLAIN_VOCABULARY = _vocabulary(*_IMAGE_TOKENS, _END)
"""2.2B: 49155 rows, `<image>` is 49153. It has no tokens for the grid: `<row_1_col_1>` is text to it."""


@dataclass(frozen=True, slots=True)
class _Size:
    """What the three checkpoints differ in; `edge` is the side of a square tile in pixels."""

    edge: int
    tiles_along: int
    scale_factor: int
    vision: Mapping[str, int]
    text: Mapping[str, int | float]
    vocabulary: Vocabulary

    @property
    def tokens_per_tile(self) -> int:
        return (self.edge // self.vision["patch_size"]) ** 2 // self.scale_factor**2

    def config(self, scale: Scale) -> Json:
        text = {**self.text, **(_SMALL_TEXT if scale == "small" else {})}
        vision = {**self.vision, **(_SMALL_VISION if scale == "small" else {})}
        return {
            "architectures": ["Idefics3ForConditionalGeneration"],
            "model_type": "idefics3",
            "image_token_id": self.vocabulary.id_of("<image>"),
            "scale_factor": self.scale_factor,
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
            "transformers_version": "4.46.0",
            "use_cache": True,
            "pad_token_id": 2,
            "vocab_size": self.vocabulary.rows,
            "text_config": {
                "model_type": "llama",
                "head_dim": 64,
                "hidden_act": "silu",
                "rms_norm_eps": 1e-05,
                "tie_word_embeddings": False,
                "torch_dtype": "bfloat16",
                "bos_token_id": 1,
                "eos_token_id": self.vocabulary.id_of(_END),
                "pad_token_id": 2,
                "vocab_size": self.vocabulary.rows,
                **text,
            },
            "vision_config": {
                "model_type": "idefics3_vision",
                "image_size": self.edge,
                "hidden_act": "gelu_pytorch_tanh",
                "layer_norm_eps": 1e-06,
                "num_channels": 3,
                "tie_word_embeddings": False,
                **vision,
            },
        }

    def files(self) -> Mapping[str, Json | str]:
        end = self.vocabulary.id_of(_END)
        return {
            "generation_config.json": {"bos_token_id": 1, "eos_token_id": end, "pad_token_id": 2},
            "preprocessor_config.json": self._preprocessor(),
            "processor_config.json": {
                "image_seq_len": self.tokens_per_tile,
                "processor_class": "Idefics3Processor",
            },
            "tokenizer_config.json": {
                # The published file says GPT2Tokenizer, whose own way of splitting some versions of
                # transformers put in place of the one in tokenizer.json; this class reads the file.
                "tokenizer_class": "PreTrainedTokenizerFast",
                "processor_class": "Idefics3Processor",
                "bos_token": "<|im_start|>",
                "eos_token": _END,
                "pad_token": "<|im_end|>",
                "unk_token": "<|endoftext|>",
                "additional_special_tokens": [*_IMAGE_TOKENS, _END],
                "clean_up_tokenization_spaces": False,
                "model_max_length": self.text["max_position_embeddings"],
                "truncation_side": "left",
            },
            "chat_template.jinja": _CHAT_TEMPLATE,
        }

    def _preprocessor(self) -> Json:
        return {
            "do_convert_rgb": True,
            "do_image_splitting": True,
            "do_normalize": True,
            "do_pad": True,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": [0.5, 0.5, 0.5],
            "image_processor_type": "Idefics3ImageProcessor",
            "image_std": [0.5, 0.5, 0.5],
            "max_image_size": {"longest_edge": self.edge},
            "processor_class": "Idefics3Processor",
            "resample": 1,
            "rescale_factor": 1 / 255,
            "size": {"longest_edge": self.tiles_along * self.edge},
        }

    def layout(self, width: int, height: int) -> ImageLayout:
        """The longer side always becomes `tiles_along` tiles; one more crop shows the whole image.

        Source: transformers, models/idefics3/image_processing_idefics3.py, get_number_of_image_patches.
        """
        longest = self.tiles_along * self.edge
        short = int(longest / (max(width, height) / min(width, height)))
        crops = self.tiles_along * math.ceil(short / self.edge) + 1
        return ImageLayout(crops, crops * self.tokens_per_tile)

    def checkpoint(self, name: str, published_as: str) -> Checkpoint:
        tiling = f"{self.tiles_along}x{self.tiles_along} of {self.edge} + 1"
        return Checkpoint(
            name=name,
            published_as=f"HuggingFaceTB/{published_as}",
            family="SmolVLM",
            tiling=tiling,
            vocabulary=self.vocabulary,
            config=self.config,
            tensors=_tensors,
            files=self.files,
            layout=self.layout,
        )


def _tensors(config: Json) -> Iterator[TensorSpec]:
    vision, text = config["vision_config"], config["text_config"]
    yield from _siglip("model.vision_model", vision)
    connector = "model.connector.modality_projection.proj"
    shuffled = vision["hidden_size"] * config["scale_factor"] ** 2
    yield from linear(connector, text["hidden_size"], shuffled, bias=False)
    yield from decoder("model.text_model", text)
    yield from head("lm_head", text)


def _siglip(prefix: str, vision: Json) -> Iterator[TensorSpec]:
    hidden, patch = vision["hidden_size"], vision["patch_size"]
    patches = (vision["image_size"] // patch) ** 2
    embeddings = f"{prefix}.embeddings"
    yield TensorSpec(f"{embeddings}.patch_embedding.weight", (hidden, 3, patch, patch), Init.FAN_IN)
    yield TensorSpec(f"{embeddings}.patch_embedding.bias", (hidden,), Init.ZEROS)
    yield TensorSpec(f"{embeddings}.position_embedding.weight", (patches, hidden), Init.EMBEDDING)
    for index in range(vision["num_hidden_layers"]):
        layer = f"{prefix}.encoder.layers.{index}"
        yield from layer_norm(f"{layer}.layer_norm1", hidden)
        for projection in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from linear(f"{layer}.self_attn.{projection}", hidden, hidden, bias=True)
        yield from layer_norm(f"{layer}.layer_norm2", hidden)
        yield from linear(f"{layer}.mlp.fc1", vision["intermediate_size"], hidden, bias=True)
        yield from linear(f"{layer}.mlp.fc2", hidden, vision["intermediate_size"], bias=True)
    yield from layer_norm(f"{prefix}.post_layernorm", hidden)


_SIGLIP_BASE = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "patch_size": 16,
}
_SIGLIP_SO400M = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_attention_heads": 16,
    "num_hidden_layers": 27,
    "patch_size": 14,
}
_SMOLLM2_135M: Mapping[str, int | float] = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_attention_heads": 9,
    "num_hidden_layers": 30,
    "num_key_value_heads": 3,
    "max_position_embeddings": 8192,
    "rope_theta": 100_000,
}
_SMOLLM2_360M: Mapping[str, int | float] = {
    "hidden_size": 960,
    "intermediate_size": 2560,
    "num_attention_heads": 15,
    "num_hidden_layers": 32,
    "num_key_value_heads": 5,
    "max_position_embeddings": 8192,
    "rope_theta": 100_000,
}
_SMOLLM2_1_7B: Mapping[str, int | float] = {
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_attention_heads": 32,
    "num_hidden_layers": 24,
    "num_key_value_heads": 32,
    "max_position_embeddings": 16_384,
    "rope_theta": 273_768.0,
}

CHECKPOINTS = (
    _Size(512, 4, 4, _SIGLIP_BASE, _SMOLLM2_135M, _TILE_VOCABULARY).checkpoint(
        "SmolVLM-256M", "SmolVLM-256M-Instruct"
    ),
    _Size(512, 4, 4, _SIGLIP_BASE, _SMOLLM2_360M, _TILE_VOCABULARY).checkpoint(
        "SmolVLM-500M", "SmolVLM-500M-Instruct"
    ),
    _Size(384, 4, 3, _SIGLIP_SO400M, _SMOLLM2_1_7B, _PLAIN_VOCABULARY).checkpoint(
        "SmolVLM-2.2B", "SmolVLM-Instruct"
    ),
)

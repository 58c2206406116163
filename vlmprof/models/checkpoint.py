"""What a checkpoint is made of: a config, a list of tensors, a vocabulary and an image geometry."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

Scale = Literal["full", "small"]
SCALES: tuple[Scale, ...] = ("full", "small")

Json = dict[str, Any]

BYTES_PER_PARAMETER = 2
"""Every weight is stored as bfloat16, as in the published checkpoints."""


class Init(StrEnum):
    """How a tensor's random values are drawn.

    Attributes:
        FAN_IN: normal with variance 1 / inputs, so that every layer keeps the size of its input. The usual
            standard deviation of 0.02 suits widths near 2500 and would silence the narrow layers of a small
            checkpoint: its answers would not depend on the image.
        QUERY_KEY: as FAN_IN with twice the standard deviation. Attention scores then spread by 4, not by 1,
            and a token looks at a few others, not at the mean of all. Ten photographs then get ten different
            first tokens from the small Qwen3-VL-2B, and seven otherwise.
        DOUBLED: 2, for norms of queries and keys, to the same end.
        EMBEDDING: normal with a standard deviation of 0.02.
        HEAD: as EMBEDDING, one row per token, but zero for every token that prints nothing.
        ONES, ZEROS: norms and biases.
        LAYER_SCALE: 0.1, the start value of InternViT's residual scales.
    """

    FAN_IN = "fan-in"
    QUERY_KEY = "query-key"
    DOUBLED = "doubled"
    EMBEDDING = "embedding"
    HEAD = "head"
    ONES = "ones"
    ZEROS = "zeros"
    LAYER_SCALE = "layer-scale"


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor of the checkpoint under the name that the published checkpoint gives it."""

    name: str
    shape: tuple[int, ...]
    init: Init

    @property
    def parameters(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class AddedToken:
    """A token that is matched before the text is split; `special` ones are left out of decoded text."""

    id: int
    text: str
    special: bool = True


class PreTokenizer(StrEnum):
    """How a family splits text into the words that BPE works on."""

    SMOLLM = "smollm"
    QWEN = "qwen"


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Ids of one model: `[0, ordinary)` belong to BPE, added tokens may lie inside and after them.

    Attributes:
        rows: rows of the embedding; a published checkpoint may have a token or rows too many.
    """

    pre_tokenizer: PreTokenizer
    ordinary: int
    rows: int
    added: tuple[AddedToken, ...]

    def id_of(self, text: str) -> int:
        """Id of an added token."""
        return next(token.id for token in self.added if token.text == text)


@dataclass(frozen=True, slots=True)
class ImageLayout:
    """What becomes of one image: `crops` (thumbnail included) of `tokens` image tokens together."""

    crops: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model that can be made: pure functions from a scale to the files' contents.

    Attributes:
        name: the name on the command line.
        published_as: the checkpoint on the model hub whose architecture this is.
        tiling: the most tiles that an image becomes, their side in pixels, `+ 1` for the whole image.
        config: `config.json` at a scale.
        tensors: every tensor of a model with that config.
        files: the other text files by name; a dict becomes JSON. Equal at every scale.
        layout: crops and image tokens of an image of width x height pixels.
        serve_args: what the engine must be given beyond the folder.
    """

    name: str
    published_as: str
    family: str
    tiling: str
    vocabulary: Vocabulary
    config: Callable[[Scale], Json]
    tensors: Callable[[Json], Iterator[TensorSpec]]
    files: Callable[[], Mapping[str, Json | str]]
    layout: Callable[[int, int], ImageLayout]
    serve_args: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckpointInfo:
    """A checkpoint at one scale, made (`path` is its folder) or only described (`path` is None).

    Attributes:
        weights_bytes: size of `model.safetensors`; the tokenizer adds 3 to 8 MB.
        crops, image_tokens: of one 640x480 image.
    """

    name: str
    published_as: str
    family: str
    architecture: str
    scale: Scale
    parameters: int
    weights_bytes: int
    tiling: str
    crops: int
    image_tokens: int
    vocabulary_rows: int
    serve_args: tuple[str, ...]
    seed: int | None = None
    path: Path | None = None

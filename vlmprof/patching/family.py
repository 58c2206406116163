"""The model families that recipes speak about, told from a checkpoint's config."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class Family(StrEnum):
    """Models whose images go one way through the engine; InternVL3 comes in two forms."""

    IDEFICS3 = "SmolVLM, Idefics3"
    INTERNVL_CHAT = "InternVLChat"
    INTERNVL_HF = "InternVL, HF-native"
    QWEN3_VL = "Qwen3-VL"


_BY_ARCHITECTURE = {
    "Idefics3ForConditionalGeneration": Family.IDEFICS3,
    "SmolVLMForConditionalGeneration": Family.IDEFICS3,
    "InternVLChatModel": Family.INTERNVL_CHAT,
    "InternVLForConditionalGeneration": Family.INTERNVL_HF,
    "Qwen3VLForConditionalGeneration": Family.QWEN3_VL,
}
_BY_MODEL_TYPE = {
    "idefics3": Family.IDEFICS3,
    "smolvlm": Family.IDEFICS3,
    "internvl_chat": Family.INTERNVL_CHAT,
    "internvl": Family.INTERNVL_HF,
    "qwen3_vl": Family.QWEN3_VL,
}


def family_of(config: Mapping[str, Any]) -> Family | None:
    """The family of a checkpoint's config.json; None for a model that no recipe speaks about.

    The first architecture decides, as it does for the engine; a config without one is told by its model_type.
    """
    architectures = config.get("architectures")
    if architectures:
        return _BY_ARCHITECTURE.get(architectures[0])
    return _BY_MODEL_TYPE.get(config.get("model_type", ""))

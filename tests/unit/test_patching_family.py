"""A checkpoint's family is told from its config.json, for every checkpoint that can be made."""

from typing import Any

import pytest

from vlmprof.patching import Family, family_of


@pytest.mark.parametrize(
    ("config", "family"),
    [
        ({"architectures": ["SmolVLMForConditionalGeneration"], "model_type": "smolvlm"}, Family.IDEFICS3),
        ({"architectures": ["Idefics3ForConditionalGeneration"]}, Family.IDEFICS3),
        ({"architectures": ["InternVLChatModel"], "model_type": "internvl_chat"}, Family.INTERNVL_CHAT),
        ({"architectures": ["InternVLForConditionalGeneration"]}, Family.INTERNVL_HF),
        ({"architectures": ["Qwen3VLForConditionalGeneration"]}, Family.QWEN3_VL),
        ({"model_type": "internvl"}, Family.INTERNVL_HF),
        ({"architectures": None, "model_type": "qwen3_vl"}, Family.QWEN3_VL),
    ],
    ids=str,
)
def test_an_architecture_or_else_a_model_type_tells_the_family(
    config: dict[str, Any], family: Family
) -> None:
    """The two forms of InternVL3 differ in both."""
    assert family_of(config) is family


@pytest.mark.parametrize(
    "config", [{}, {"model_type": "llama"}, {"architectures": ["LlavaForCausalLM"], "model_type": "smolvlm"}]
)
def test_a_model_that_no_recipe_speaks_about_has_no_family(config: dict[str, Any]) -> None:
    """The architecture, which the engine serves by, decides before the model_type."""
    assert family_of(config) is None

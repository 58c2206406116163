"""Recipe 7: repeated image tokens do not go through the tokenizer."""

from vlmprof.patching import Family, Need, Recipe, Standing
from vlmprof_recipes.diagnosis import Removes, removing

recipe = Recipe(
    number=7,
    slug="tokenizer",
    title="compact placeholder",
    paper="A compact placeholder in the prompt; thousands of repeated image tokens do not pass the tokenizer.",
    here="vLLM tokenizes the placeholder and expands ids; only HF-native InternVL still tokenizes, decodes and "
    "tokenizes an expanded text again, whose ids nobody uses.",
    standing={
        Family.IDEFICS3: Standing(
            Need.UPSTREAM,
            "Idefics3MultiModalProcessor._get_prompt_updates expands ids; cached_encode for the tile text",
        ),
        Family.INTERNVL_CHAT: Standing(Need.UPSTREAM, "BaseMultiModalProcessor._maybe_apply_prompt_updates"),
        Family.INTERNVL_HF: Standing(
            Need.NEEDED, "InternS1MultiModalProcessor._apply_hf_processor_main; no patch here yet"
        ),
        Family.QWEN3_VL: Standing(
            Need.NEEDED, "_get_hf_mm_text makes a text whose ids are unused: under 0.1 ms; no patch here yet"
        ),
    },
    diagnose=removing(Removes("InternS1MultiModalProcessor._apply_hf_processor_main", "self")),
    processes=("api_server",),
)

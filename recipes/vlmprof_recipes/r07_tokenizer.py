"""Recipe 7: repeated image tokens do not go through the tokenizer."""

from vlmprof.patching import Family, Need, Recipe, Standing
from vlmprof_recipes import effects
from vlmprof_recipes import vllm_26_patches as vllm_26
from vlmprof_recipes.cache_keys import CACHE_KEYS
from vlmprof_recipes.diagnosis import changing
from vlmprof_recipes.engine_versions import TRANSFORMERS, VLLM
from vlmprof_recipes.internvl_patches import CHAT_TEXT, HF_IMAGES
from vlmprof_recipes.qwen3_vl_patches import TEXT

_DUMMY_TEXT = Standing(
    Need.NEEDED,
    "BaseMultiModalProcessor._apply_hf_processor_mm_only: a text beside the images is expanded and tokenized, "
    "its ids are unused",
)

recipe = Recipe(
    number=7,
    slug="tokenizer",
    title="compact placeholder",
    paper="A compact placeholder in the prompt; thousands of repeated image tokens do not pass the tokenizer.",
    here="vLLM tokenizes the placeholder and expands ids. InternVLChat's `<image>` is no token and is not found "
    "among them: the expanded prompt is made as a text and tokenized after all. HF-native InternVL tokenizes, "
    "decodes and tokenizes again an expanded text whose ids nobody uses, and Qwen3-VL tokenizes one.",
    standing={
        Family.IDEFICS3: Standing(
            Need.UPSTREAM,
            "Idefics3MultiModalProcessor._get_prompt_updates expands ids; cached_encode for the tile text",
        ),
        Family.INTERNVL_CHAT: Standing(
            Need.NEEDED,
            "BaseMultiModalProcessor._apply_prompt_updates_via_text: `>` and a line break are one",
        ),
        Family.INTERNVL_HF: Standing(Need.NEEDED, "InternS1MultiModalProcessor._apply_hf_processor_main"),
        Family.QWEN3_VL: Standing(
            Need.NEEDED, "Qwen3VLMultiModalProcessor._get_hf_mm_text; its expanded ids are unused"
        ),
    },
    diagnose=changing(effects.COMPACT_PLACEHOLDER),
    processes=("api_server",),
    fits={
        Family.INTERNVL_CHAT: (VLLM,),
        Family.INTERNVL_HF: (VLLM, TRANSFORMERS),
        Family.QWEN3_VL: (VLLM, TRANSFORMERS),
    },
    patches={
        Family.INTERNVL_CHAT: (*CHAT_TEXT, *CACHE_KEYS),
        Family.INTERNVL_HF: (*HF_IMAGES, *CACHE_KEYS),
        Family.QWEN3_VL: (*TEXT, *CACHE_KEYS),
    },
    earlier={
        Family.IDEFICS3: vllm_26.row(*vllm_26.IDEFICS3_TEXT, standing=_DUMMY_TEXT),
        Family.INTERNVL_CHAT: vllm_26.row(
            *vllm_26.INTERNVL_CHAT_TEXT,
            standing=Standing(
                Need.NEEDED,
                "BaseMultiModalProcessor._apply_prompt_updates and _apply_hf_processor_mm_only tokenize both "
                "the expanded prompt and a text that goes with the images",
            ),
        ),
        Family.INTERNVL_HF: vllm_26.row(
            *vllm_26.INTERNVL_HF_IMAGES,
            standing=Standing(Need.NEEDED, "InternS1MultiModalProcessor._call_hf_processor"),
        ),
        Family.QWEN3_VL: vllm_26.row(*vllm_26.QWEN3_VL_TEXT, standing=_DUMMY_TEXT),
    },
)

"""Recipe 6: normalize in bfloat16."""

from vlmprof.patching import Exactness, Family, Need, Recipe, Standing
from vlmprof_recipes.diagnosis import not_diagnosed

_NEEDED = Standing(Need.NEEDED, "rescale_and_normalize computes in float32; no patch here yet")

recipe = Recipe(
    number=6,
    slug="bf16_normalize",
    title="normalize in bfloat16",
    paper="Normalize in bfloat16, not in float32.",
    here="Half the bytes of the normalized tiles before they are cast to the model's type.",
    standing={
        Family.IDEFICS3: _NEEDED,
        Family.INTERNVL_CHAT: Standing(Need.NEEDED, "build_transform computes in float32; no patch here yet"),
        Family.INTERNVL_HF: _NEEDED,
        Family.QWEN3_VL: Standing(
            Need.UPSTREAM, "FusedMMInputNorm normalizes uint8 on the device, in float32"
        ),
    },
    diagnose=not_diagnosed,
    processes=("api_server",),
    exactness=Exactness.TOLERANCE,
    tolerance="Relative RMS error of the patch embedding against float64: 0.0084, where float32 has 0.0022.",
)

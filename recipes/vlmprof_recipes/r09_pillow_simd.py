"""Recipe 9: an image library with vector instructions."""

from vlmprof.patching import Exactness, Family, Need, Recipe, Standing, Switching
from vlmprof_recipes.diagnosis import not_diagnosed

_NO_PIL = Standing(
    Need.NOT_APPLICABLE, "torchvision resizes; PIL only decodes, where Pillow-SIMD gains nothing"
)

recipe = Recipe(
    number=9,
    slug="pillow_simd",
    title="Pillow-SIMD",
    paper="An optimized image library for decoding and resizing.",
    here="Pillow-SIMD resizes 5.7 times as fast as Pillow and decodes no faster; torchvision, which most models "
    "use today, resizes faster than either.",
    standing={
        Family.IDEFICS3: _NO_PIL,
        Family.INTERNVL_CHAT: Standing(
            Need.NEEDED,
            "PIL resizes; install Pillow-SIMD into a folder in front of PYTHONPATH; recipe 2 replaces it",
        ),
        Family.INTERNVL_HF: _NO_PIL,
        Family.QWEN3_VL: _NO_PIL,
    },
    diagnose=not_diagnosed,
    processes=("api_server",),
    switching=Switching.RESTART,
    exactness=Exactness.TOLERANCE,
    tolerance="A resized value differs by at most 2 of 255.",
)

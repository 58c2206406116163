"""Recipe 9: an image library with vector instructions."""

from vlmprof.patching import Earlier, Exactness, Family, Need, Recipe, Standing, Switching
from vlmprof_recipes.diagnosis import Removes, changing
from vlmprof_recipes.engine_versions import TORCHVISION_WITHOUT_LANCZOS
from vlmprof_recipes.pillow_simd import launch

_NO_PIL = Standing(
    Need.NOT_APPLICABLE, "torchvision resizes; PIL only decodes, where Pillow-SIMD gains nothing"
)

_RESIZES = (Removes("Image.resize", share=0.8, spread=0.1),)

recipe = Recipe(
    number=9,
    slug="pillow_simd",
    title="Pillow-SIMD",
    paper="An optimized image library for decoding and resizing.",
    here="Pillow-SIMD resizes 5.7 times as fast as Pillow and decodes no faster; torchvision, which most models "
    "use today, resizes faster than either. It is built from source into a folder of vlmprof's cache, which is put "
    "in front of the server's PYTHONPATH: no installed Pillow is replaced.",
    standing={
        Family.IDEFICS3: _NO_PIL,
        Family.INTERNVL_CHAT: Standing(
            Need.NEEDED, "vllm.transformers_utils.processors.internvl resizes with PIL; recipe 2 replaces it"
        ),
        Family.INTERNVL_HF: _NO_PIL,
        Family.QWEN3_VL: _NO_PIL,
    },
    earlier={
        Family.IDEFICS3: Earlier(
            fits=(TORCHVISION_WITHOUT_LANCZOS,),
            standing=Standing(
                Need.NEEDED,
                "transformers resizes with PIL beside torchvision before 0.27, by Lanczos' filter",
            ),
        )
    },
    diagnose=changing(dict.fromkeys((Family.IDEFICS3, Family.INTERNVL_CHAT), _RESIZES)),
    processes=("api_server",),
    switching=Switching.RESTART,
    exactness=Exactness.TOLERANCE,
    tolerance="A resized value differs by at most 2 of 255.",
    # Recipe 2 leaves nothing that PIL would resize.
    conflicts=(2,),
    launch=launch,
)

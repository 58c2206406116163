"""Recipe 3: resize and normalize on the GPU."""

from vlmprof.patching import Exactness, Family, Need, Recipe, Standing
from vlmprof_recipes.diagnosis import not_diagnosed

_NEEDED = Standing(
    Need.NEEDED,
    "--mm-processor-device is refused unless the server only encodes; a worker patch is needed, none here yet",
)

recipe = Recipe(
    number=3,
    slug="gpu_preprocess",
    title="preprocess on the GPU",
    paper="Resize and normalize on the GPU.",
    here="The API server would send the decoded image and the worker make the tiles; without a GPU the same "
    "work only changes its process.",
    standing=dict.fromkeys(Family, _NEEDED),
    diagnose=not_diagnosed,
    processes=("api_server", "worker"),
    exactness=Exactness.TOLERANCE,
    tolerance="torchvision has no Lanczos on CUDA and falls back to bicubic; two matrix products with the int16 "
    "weights of the CPU give equal pixels.",
)

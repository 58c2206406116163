"""Recipes 1, 2, 7, 8 and 11 on InternVL3 in its two forms: ids, ranges and pixels are those of the engine."""

from collections.abc import Iterator
from itertools import combinations
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="the models' extra is not installed")
pytest.importorskip("vllm", reason="vLLM is not installed")

from tokenizers import pre_tokenizers  # noqa: E402
from transformers.models.got_ocr2.image_processing_got_ocr2 import GotOcr2ImageProcessor  # noqa: E402
from vllm.model_executor.models.interns1 import InternS1ForConditionalGeneration  # noqa: E402
from vllm.model_executor.models.internvl import (  # noqa: E402
    InternVLChatModel,
    InternVLMultiModalProcessor,
)
from vllm.multimodal.media import ImageMediaIO  # noqa: E402
from vllm.multimodal.utils import group_and_batch_mm_kwargs  # noqa: E402
from vllm.transformers_utils.processors.internvl import InternVLImageProcessor  # noqa: E402

from tests.unit.engine_processor import engine_processor, fields, processed  # noqa: E402
from tests.unit.shared_data import shared_file  # noqa: E402
from vlmprof.errors import RecipeMisfit  # noqa: E402
from vlmprof.patching import Family, PatchSet, RecipeSwitch  # noqa: E402
from vlmprof.patching.registry import check_together, load_recipes  # noqa: E402
from vlmprof_recipes.ids_apart import apart_from_text  # noqa: E402
from vlmprof_recipes.internvl_inputs import (  # noqa: E402
    normalized_after_rescaling,
    normalized_with_rescaling,
)

_FAMILIES = (Family.INTERNVL_CHAT, Family.INTERNVL_HF)
_NUMBERS = (1, 2, 7, 8, 11)
_EXACT = {Family.INTERNVL_CHAT: (1, 7, 8, 11), Family.INTERNVL_HF: (1, 7, 8, 11)}
_CHECKPOINTS = {Family.INTERNVL_CHAT: "InternVL3-2B", Family.INTERNVL_HF: "InternVL3-2B-hf"}
_PIXELS = {Family.INTERNVL_CHAT: "pixel_values_flat", Family.INTERNVL_HF: "pixel_values"}
_NORMALIZED = {
    Family.INTERNVL_CHAT: normalized_after_rescaling,
    Family.INTERNVL_HF: normalized_with_rescaling,
}
# vLLM 0.26 has one function where later versions have one for the ids and one for the text.
_HAS_VIA_TEXT = hasattr(InternVLMultiModalProcessor, "_apply_prompt_updates_via_text")
_SPLICED = f"_apply_prompt_updates{'_via_text' * _HAS_VIA_TEXT}"
_VIA_TEXT = f"vllm.model_executor.models.internvl:InternVLMultiModalProcessor.{_SPLICED}"
_MATCHES = f"_apply_token_matches{'_with_placeholders' * _HAS_VIA_TEXT}"
_SIZES = [(640, 480), (480, 640), (1920, 1080), (37, 100), (1, 1), (448, 448), (1800, 40), (40, 1800)]
_ODD = [
    "CMYK_color_no_profile",
    "pil_sample_cmyk",
    "palette_color",
    "logo.png",
    "tower_grayscale",
    "tower_progressive",
    "Landscape_6",
    "a608fc85__4.webp",
]


def _sets(family: Family) -> list[tuple[int, ...]]:
    numbers = _EXACT[family]
    return [chosen for size in range(1, len(numbers) + 1) for chosen in combinations(numbers, size)]


@pytest.fixture(scope="module")
def installed() -> Iterator[dict[Family, tuple[RecipeSwitch, PatchSet]]]:
    """The recipes of each form, installed in the real vLLM and transformers."""
    installed = {}
    for family in _FAMILIES:
        switch = RecipeSwitch.private()
        patches = PatchSet([load_recipes()[number] for number in _NUMBERS], switch, family)
        patches.check()
        patches.apply()
        installed[family] = (switch, patches)
    yield installed
    counts = [patches.counts() for _, patches in installed.values()]
    for _, patches in reversed(installed.values()):
        patches.undo()
    failures = {target: each.failures for count in counts for target, each in count.items() if each.failures}
    assert failures == {}, "the engine's own way would hide a recipe that fails"


@pytest.fixture
def switches(installed: dict[Family, tuple[RecipeSwitch, PatchSet]]) -> dict[Family, RecipeSwitch]:
    """Every test starts with all recipes off."""
    for switch, _ in installed.values():
        switch.set([])
    return {family: switch for family, (switch, _) in installed.items()}


@pytest.fixture(scope="module")
def processors(tmp_path_factory: pytest.TempPathFactory) -> dict[Family, Any]:
    """The engine's processors, one for each form of the checkpoint."""
    folder = tmp_path_factory.mktemp("internvl")
    return {family: engine_processor(_CHECKPOINTS[family], folder / family.name) for family in _FAMILIES}


def _image(width: int, height: int, seed: int = 0) -> Image.Image:
    generator = np.random.default_rng(seed)
    return Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8), "RGB")


def _in_worker(family: Family, request: Any, image: int = 0) -> Any:
    """Pixels as the vision encoder gets them: bfloat16, normalized in the worker where they came as uint8."""
    sent = fields(request, image)
    name = _PIXELS[family]
    if name in sent:
        assert name + "_uint8" not in sent
        return sent[name]
    return _NORMALIZED[family](sent[name + "_uint8"], torch.bfloat16)


def _assert_same(family: Family, found: Any, expected: Any) -> None:
    """Equal ids, ranges, tile counts and pixels of two prepared prompts."""
    assert found["prompt_token_ids"] == expected["prompt_token_ids"]
    ranges = [request["mm_placeholders"]["image"] for request in (found, expected)]
    assert [(each.offset, each.length) for each in ranges[0]] == [
        (each.offset, each.length) for each in ranges[1]
    ]
    for image in range(len(ranges[0])):
        counts = [fields(request, image)["image_num_patches"] for request in (found, expected)]
        assert torch.equal(*counts)
        assert torch.equal(_in_worker(family, found, image), _in_worker(family, expected, image))


@pytest.mark.parametrize(
    ("family", "numbers"), [(family, numbers) for family in _FAMILIES for numbers in _sets(family)], ids=str
)
def test_every_set_of_exact_recipes_gives_the_engine_s_prompt_and_pixels(
    switches: dict[Family, RecipeSwitch],
    processors: dict[Family, Any],
    family: Family,
    numbers: tuple[int, ...],
) -> None:
    """A 640x480 image is 4 x 3 tiles and the whole: 13 tiles of 256 tokens, bit-identical as bfloat16."""
    image = _image(640, 480)
    switch = switches[family]
    expected = processed(processors[family], [image])
    switch.set(numbers)
    found = processed(processors[family], [image])
    _assert_same(family, found, expected)
    assert found["mm_placeholders"]["image"][0].length == 13 * 256 + 2
    assert (_PIXELS[family] + "_uint8" in fields(found)) == ({1, 8} <= set(numbers))


@pytest.mark.parametrize("family", _FAMILIES)
@pytest.mark.parametrize("size", _SIZES, ids=str)
def test_images_of_every_shape_give_the_engine_s_pixels(
    switches: dict[Family, RecipeSwitch], processors: dict[Family, Any], family: Family, size: tuple[int, int]
) -> None:
    """Landscape, portrait, large, tiny, one pixel, one tile, and strips of extreme aspect."""
    image = _image(*size)
    switch = switches[family]
    expected = processed(processors[family], [image])
    switch.set(_EXACT[family])
    found = processed(processors[family], [image])
    _assert_same(family, found, expected)
    assert fields(found)[_PIXELS[family] + "_uint8"].dtype == torch.uint8


@pytest.mark.parametrize("family", _FAMILIES)
def test_several_images_of_a_prompt_keep_their_order_and_their_tiles(
    switches: dict[Family, RecipeSwitch], processors: dict[Family, Any], family: Family
) -> None:
    """13 tiles, 1 tile, 13 tiles; each image has its own field and its own range."""
    images = [_image(640, 480, 1), _image(448, 448, 2), _image(480, 640, 3)]
    switch = switches[family]
    expected = processed(processors[family], images)
    switch.set(_EXACT[family])
    found = processed(processors[family], images)
    _assert_same(family, found, expected)
    assert [int(fields(found, image)["image_num_patches"]) for image in range(3)] == [13, 1, 13]


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1", "LA"])
def test_an_image_that_is_not_rgb_goes_the_engine_s_own_way_with_all_others_of_its_request(
    switches: dict[Family, RecipeSwitch], mode: str
) -> None:
    """Beside it stands an RGB image, which recipes 2 and 8 would have changed: both are as without recipes."""
    processor = InternVLImageProcessor(224, 1, 12, True, True)
    images = [_image(640, 480), _image(320, 200).convert(mode)]
    expected = processor(images, return_tensors="pt")
    switches[Family.INTERNVL_CHAT].set((1, 2, 8, 11))
    found = processor(images, return_tensors="pt")
    assert torch.equal(found["pixel_values_flat"], expected["pixel_values_flat"])


@pytest.mark.parametrize("family", _FAMILIES)
@pytest.mark.parametrize("fragment", _ODD)
def test_odd_files_are_decoded_and_processed_as_by_the_engine(
    switches: dict[Family, RecipeSwitch], processors: dict[Family, Any], family: Family, fragment: str
) -> None:
    """CMYK, palette, alpha, gray, progressive, rotated by EXIF, WebP: from the file's bytes."""
    image = ImageMediaIO().load_bytes(shared_file("images", fragment).read_bytes())
    switch = switches[family]
    expected = processed(processors[family], [image])
    switch.set(_EXACT[family])
    found = processed(processors[family], [image])
    _assert_same(family, found, expected)


@pytest.mark.parametrize(
    "text",
    [
        "<image>\nWhat is it?",
        "<image>\n<image>\nIn what do they differ?",
        "<|im_start|>user\nFirst:<image>\n\n then <image>, é and ½<|im_end|>\n<|im_start|>assistant\n",
        "<<image>>\n<img><image></img> end",
    ],
)
def test_ids_of_an_image_are_spliced_into_the_prompt_as_the_tokenizer_would_find_them(
    installed: dict[Family, tuple[RecipeSwitch, PatchSet]],
    switches: dict[Family, RecipeSwitch],
    processors: dict[Family, Any],
    monkeypatch: pytest.MonkeyPatch,
    text: str,
) -> None:
    """The engine goes through the text where a bracket is in the token of what follows; here always."""
    family = Family.INTERNVL_CHAT

    def not_found(_processor: Any, token_ids: list[int], updates: Any) -> Any:
        found = {modality: [None] * len(each) for modality, each in updates.items()}
        return (token_ids, found, {}) if _HAS_VIA_TEXT else (token_ids, found)

    monkeypatch.setattr(InternVLMultiModalProcessor, _MATCHES, not_found)
    images = [_image(640, 480, 1), _image(448, 448, 2)][: text.count("<image>")]
    expected = processed(processors[family], images, text)
    before = installed[family][1].counts()[_VIA_TEXT].calls
    switches[family].set([7])
    found = processed(processors[family], images, text)
    _assert_same(family, found, expected)
    assert installed[family][1].counts()[_VIA_TEXT].calls == before + 1


class _WithBackend:
    def __init__(self, backend: Any) -> None:
        self.backend_tokenizer = backend


def test_a_tokenizer_that_puts_spaces_before_pieces_of_text_is_left_alone(
    processors: dict[Family, Any],
) -> None:
    """InternLM2's does; of it the pieces' ids are not those of the whole."""
    backend = processors[Family.INTERNVL_CHAT].info.get_tokenizer().backend_tokenizer
    assert apart_from_text(_WithBackend(backend))
    spaced = SimpleNamespace(
        model=backend.model,
        normalizer=None,
        pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=True),
        get_added_tokens_decoder=backend.get_added_tokens_decoder,
    )
    assert not apart_from_text(_WithBackend(spaced))


def test_arrays_beside_images_never_meet_uint8_tiles(
    switches: dict[Family, RecipeSwitch], processors: dict[Family, Any]
) -> None:
    """transformers joins the tiles of a request: a float array's would turn an image's bytes into floats."""
    family = Family.INTERNVL_HF
    images = [_image(640, 480), np.random.default_rng(0).random((3, 64, 64)).astype(np.float32)]
    switch = switches[family]
    expected = processed(processors[family], images)
    for numbers in ((1, 8), (1, 7, 8, 11)):
        switch.set(numbers)
        _assert_same(family, processed(processors[family], images), expected)


def test_torchvision_resizes_within_the_tolerance_that_recipe_2_states(
    switches: dict[Family, RecipeSwitch], processors: dict[Family, Any]
) -> None:
    """Less than 2.5% of the values differ, none by more than 12 of 255 levels, which are 0.21 normalized."""
    family = Family.INTERNVL_CHAT
    image = _image(64, 48).resize((640, 480), Image.Resampling.BICUBIC)
    switch = switches[family]
    expected = processed(processors[family], [image])
    for numbers in ((2,), (1, 2), (2, 11), (1, 2, 8, 11)):
        switch.set(numbers)
        found = processed(processors[family], [image])
        difference = (_in_worker(family, found).float() - _in_worker(family, expected).float()).abs()
        assert 0 < float(difference.max()) <= 0.21
        assert float((difference > 0).float().mean()) < 0.025
        assert found["prompt_token_ids"] == expected["prompt_token_ids"]


@pytest.mark.parametrize("family", _FAMILIES)
def test_tiles_of_before_and_after_a_switch_are_never_in_one_batch(
    switches: dict[Family, RecipeSwitch], processors: dict[Family, Any], family: Family
) -> None:
    """float, uint8, uint8, float: three batches; and no two keys of one image are equal across a switch."""
    switch = switches[family]
    requests = []
    for numbers in ((), _EXACT[family], _EXACT[family], ()):
        switch.set(numbers)
        requests.append(processed(processors[family], [_image(640, 480)]))
    items = [("image", request["mm_kwargs"]["image"][0]) for request in requests]
    batches = list(group_and_batch_mm_kwargs(items))
    assert [count for _, count, _ in batches] == [1, 2, 1]
    assert [batch.get(_PIXELS[family] + "_uint8") is not None for *_, batch in batches] == [
        False,
        True,
        False,
    ]
    keys = [request["mm_hashes"]["image"][0] for request in requests]
    assert keys[0] == keys[3] != keys[1] == keys[2]


def test_a_processor_of_another_mean_is_not_left_to_the_worker(switches: dict[Family, RecipeSwitch]) -> None:
    """The worker knows ImageNet's mean alone: with 0.5 the tiles are normalized where the config is."""
    processor = GotOcr2ImageProcessor(
        size={"height": 448, "width": 448}, crop_to_patches=True, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    image = _image(640, 480)
    switch = switches[Family.INTERNVL_HF]
    expected = processor(images=[image], return_tensors="pt")
    switch.set(_EXACT[Family.INTERNVL_HF])
    found = processor(images=[image], return_tensors="pt")
    assert torch.equal(found["pixel_values"], expected["pixel_values"])


@pytest.mark.parametrize(
    "options",
    [
        {"crop_to_patches": False},
        {"do_resize": False, "crop_to_patches": False},
        {"do_normalize": False},
        {"max_patches": 4},
    ],
    ids=str,
)
def test_a_transformers_processor_that_is_set_otherwise_gives_the_same(
    switches: dict[Family, RecipeSwitch], options: dict[str, Any]
) -> None:
    """Same tiles, same type, same counts, for two images in one call."""
    settings = {"size": {"height": 448, "width": 448}, "crop_to_patches": True} | options
    processor = GotOcr2ImageProcessor(**settings)
    images = [_image(448, 448, 1), _image(448, 448, 2)]
    switch = switches[Family.INTERNVL_HF]
    expected = processor(images=images, return_tensors="pt")
    switch.set(_EXACT[Family.INTERNVL_HF])
    found = processor(images=images, return_tensors="pt")
    assert torch.equal(found["pixel_values"], expected["pixel_values"])
    assert torch.equal(found["num_patches"], expected["num_patches"])


@pytest.mark.parametrize("options", [{"max_dynamic_patch": 4}, {"dynamic_image_size": False}, {}], ids=str)
@pytest.mark.parametrize("use_thumbnail", [True, False])
def test_options_of_a_call_reach_vllm_s_processor(
    switches: dict[Family, RecipeSwitch], options: dict[str, Any], use_thumbnail: bool
) -> None:
    """Grids of at most 4 tiles, of one tile, with and without the whole image."""
    processor = InternVLImageProcessor(224, 1, 12, True, use_thumbnail)
    image = _image(640, 480)
    switch = switches[Family.INTERNVL_CHAT]
    expected = processor(image, **options, return_tensors="pt")
    switch.set((1, 11))
    found = processor([image], **options, return_tensors="pt")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


class _Vision:
    """Stands for a vision encoder: keeps the tiles it is given and gives 4 patches of each tile's mean."""

    def __init__(self) -> None:
        weight = SimpleNamespace(weight=torch.empty(0, dtype=torch.bfloat16))
        self.embeddings = SimpleNamespace(
            patch_embedding=weight, patch_embeddings=SimpleNamespace(projection=weight)
        )
        self.given: Any = None

    def __call__(self, pixel_values: Any) -> Any:
        self.given = pixel_values
        return pixel_values.float().mean((1, 2, 3))[:, None, None].expand(-1, 5, 2)


def _model(family: Family) -> tuple[Any, _Vision]:
    """The engine's model class with a stand-in for its encoder and nothing behind it."""
    chat = family is Family.INTERNVL_CHAT
    model_class: Any = InternVLChatModel if chat else InternS1ForConditionalGeneration
    model = model_class.__new__(model_class)
    torch.nn.Module.__init__(model)
    size = 448 if chat else (448, 448)
    model.config = SimpleNamespace(
        vision_config=SimpleNamespace(image_size=size), text_config=SimpleNamespace(hidden_size=8)
    )
    model.downsample_ratio, model.ps_version = 0.5, "v2"
    model.num_image_token = 1
    vision = _Vision()
    setattr(model, "vision_model" if chat else "vision_tower", vision)
    setattr(model, "mlp1" if chat else "multi_modal_projector", torch.nn.Identity())
    return model, vision


@pytest.mark.parametrize("family", _FAMILIES)
def test_the_worker_encodes_uint8_tiles_as_the_engine_would_have_encoded_its_own(
    switches: dict[Family, RecipeSwitch], processors: dict[Family, Any], family: Family
) -> None:
    """Also after the recipes were switched off: the request is on its way already."""
    images = [_image(640, 480, 1), _image(448, 448, 2)]
    model, vision = _model(family)
    results = []
    switch = switches[family]
    for numbers in ((), _EXACT[family]):
        switch.set(numbers)
        request = processed(processors[family], images)
        switch.set(())
        (batch,) = group_and_batch_mm_kwargs([("image", item) for item in request["mm_kwargs"]["image"]])
        results.append((model.embed_multimodal(**batch[2]), vision.given))
    (expected, expected_tiles), (found, tiles) = results
    assert tiles.dtype == torch.bfloat16
    assert torch.equal(tiles, expected_tiles)
    assert [len(each) for each in found] == [13, 1]
    assert all(torch.equal(*each) for each in zip(found, expected, strict=True))


def test_cuda_graphs_are_filled_with_normalized_tiles(switches: dict[Family, RecipeSwitch]) -> None:
    """Modality, item choice, replay buffers and the eager way take uint8 tiles for what they are."""
    model, vision = _model(Family.INTERNVL_CHAT)
    tiles = torch.randint(0, 256, (3, 3, 448, 448), dtype=torch.uint8)
    sent = {"pixel_values_flat_uint8": tiles, "image_num_patches": torch.tensor([1, 2])}
    assert model.get_input_modality(sent) == "image"
    chosen = model.select_encoder_cudagraph_items(sent, [1])
    buffers = model.prepare_encoder_cudagraph_replay_buffers(chosen, 2, 1)
    model.encoder_eager_forward(sent)
    expected = normalized_after_rescaling(tiles, torch.bfloat16)
    assert chosen["image_num_patches"] == [2]
    assert torch.equal(buffers.values["pixel_values_flat"], expected[1:])
    assert torch.equal(vision.given, expected)


@pytest.mark.parametrize(
    ("family", "numbers", "absent"),
    [(Family.INTERNVL_CHAT, (1, 2, 7, 8, 11), 10), (Family.INTERNVL_HF, (1, 7, 8, 11), 2)],
)
def test_each_form_takes_its_recipes_together_and_says_why_not_the_other_s(
    family: Family, numbers: tuple[int, ...], absent: int
) -> None:
    """The HF-native form has tensors already, and neither has a mask."""
    recipes = load_recipes()
    check_together(numbers, recipes, family)
    with pytest.raises(RecipeMisfit, match=f"to {family}: (upstream|not applicable)"):
        check_together([absent], recipes, family)

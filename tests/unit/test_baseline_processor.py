"""The engine's processor under the request's word for PIL: it obeys, keeps apart, and leaves others alone."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("vllm", reason="vLLM is not installed")

from tests.unit.engine_processor import engine_processor, fields
from vlmprof.patching import Family
from vlmprof.patching.registry import load_recipes

pytestmark = pytest.mark.usefixtures("pil_is_old")

_KWARGS = load_recipes()[2].baseline[Family.IDEFICS3].request["mm_processor_kwargs"]


@pytest.fixture(scope="module")
def processor(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return engine_processor("SmolVLM-256M", tmp_path_factory.mktemp("baseline") / "smolvlm")


def _processed(processor: Any, **kwargs: Any) -> Any:
    from vllm.multimodal.processing import ProcessorInputs, TimingContext

    pixels = np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)
    text = processor.dummy_inputs.get_dummy_text({"image": 1})
    inputs = ProcessorInputs(
        processor.info.get_tokenizer().encode(text),
        processor.info.parse_mm_data({"image": [Image.fromarray(pixels)]}),
        hf_processor_mm_kwargs=kwargs,
    )
    return processor.apply(inputs, TimingContext(enabled=False))


def test_a_request_that_asks_for_pil_is_processed_with_it_and_no_other(
    processor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pixels differ a little, ids do not; the cache keys are apart, and today's pixels come back bit-identical."""
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

    original, calls = Idefics3ImageProcessorPil._preprocess, []

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Idefics3ImageProcessorPil, "_preprocess", counted)
    asked: list[dict[str, Any]] = [{}, _KWARGS, {}]
    before, by_pil, after = (_processed(processor, **kwargs) for kwargs in asked)
    assert len(calls) == 1
    assert by_pil["prompt_token_ids"] == before["prompt_token_ids"]
    assert by_pil["mm_hashes"] != before["mm_hashes"] == after["mm_hashes"]
    today, old = (fields(each)["pixel_values"] for each in (before, by_pil))
    assert today.shape == old.shape
    assert 0 < (today - old).abs().max() < 0.3
    assert (fields(after)["pixel_values"] == today).all()

"""The engine's own multimodal processor of a checkpoint that is made here, without a server."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from vllm.config import ModelConfig
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.multimodal.processing import ProcessorInputs, TimingContext

from vlmprof.models import make_checkpoint, tokenizer


def engine_processor(name: str, folder: Path, change: Callable[[Path], None] | None = None) -> Any:
    """The processor of a small checkpoint, whose tokenizer is trained on little text.

    Args:
        change: what to do to the checkpoint before it is read.
    """
    corpus = tokenizer._corpus
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tokenizer, "_corpus", lambda: corpus()[:5])
        make_checkpoint(name, folder, scale="small")
    if change is not None:
        change(folder)
    config = ModelConfig(
        model=str(folder),
        tokenizer=str(folder),
        # The class of InternVL's config lies in the checkpoint that was just made.
        trust_remote_code=True,
        dtype="bfloat16",
        max_model_len=8192,
    )
    return MULTIMODAL_REGISTRY.create_processor(config)


def processed(processor: Any, images: list[Any], text: str = "") -> Any:
    """A prompt with these images, as the engine prepares it: ids, fields, hashes and placeholder ranges.

    Args:
        text: with a placeholder for each image; of the engine's own making where it is not given.
    """
    if not text:
        text = "Look: " + processor.dummy_inputs.get_dummy_text({"image": len(images)}) + "\nWhat is it?"
    items = processor.info.parse_mm_data({"image": images})
    prompt = processor.info.get_tokenizer().encode(text)
    return processor.apply(ProcessorInputs(prompt, items), TimingContext(enabled=False))


def fields(request: Any, image: int = 0) -> dict[str, Any]:
    """What is sent of one image: name -> tensor."""
    return {name: field.data for name, field in request["mm_kwargs"]["image"][image].items()}

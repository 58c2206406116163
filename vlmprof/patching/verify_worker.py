"""The worker's half of a model without its weights: from what the API server sent to the vision encoder's input.

The engine's own methods run on a model of which nothing was loaded, and with them whatever recipes replace there;
what takes the vision encoder's place keeps the pixels that it is given. All of it runs on the CPU: what recipes do
on a GPU is shown by a server alone.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

from vlmprof.patching.family import Family

_SENT_AS_TAKEN = "pixel_values"
"""Qwen3-VL's name of pixels. No recipe changes them in the worker, where the encoder itself normalizes."""


class _EncoderReached(BaseException):
    """The vision encoder has been called: what the model does with its result is of no interest.

    No Exception, because a replaced function would take that for a failed recipe and go the engine's own way.
    """


class _Encoder:
    """In the place of a vision encoder whose weights have a dtype; see `WorkerModel`."""

    def __init__(self, dtype: Any) -> None:
        import torch

        self.pixels: list[Any] = []
        # The engine and recipes ask the patch embedding's weight for the dtype to compute in.
        weight = SimpleNamespace(weight=torch.empty(0, dtype=dtype))
        self.embeddings = SimpleNamespace(
            patch_embedding=weight, patch_embeddings=SimpleNamespace(projection=weight)
        )

    def __call__(self, pixel_values: Any, *_: Any, **__: Any) -> Any:
        self.pixels.append(pixel_values)
        raise _EncoderReached


class WorkerModel:
    """A model as far as the way to its vision encoder goes.

    Args:
        config: vLLM's ModelConfig of the checkpoint.
    """

    def __init__(self, config: Any, family: Family) -> None:
        self._encoder = _Encoder(config.dtype)
        self._model = None if family is Family.QWEN3_VL else _model(config, family, self._encoder)

    def encoder_pixels(self, items: Sequence[Any]) -> list[Any]:
        """Pixels of a prompt's images as the vision encoder gets them, batch by batch, as the worker batches.

        Args:
            items: what the processor made of each image, in order.

        Raises:
            Exception: whatever the engine's or a recipe's code raises: in a server it would end the engine.
        """
        import torch

        if self._model is None:
            return [item[_SENT_AS_TAKEN].data for item in items]
        self._encoder.pixels.clear()
        with torch.inference_mode():
            for batch in _batches(items):
                with suppress(_EncoderReached):
                    self._model.embed_multimodal(**batch)
        return joined(self._encoder.pixels)


def joined(pixels: Sequence[Any]) -> list[Any]:
    """Neighbours of one dtype and tile size as one tensor [tiles, ...]: how tiles are batched is no difference."""
    import torch

    parts: list[Any] = []
    for tiles in pixels:
        last = parts[-1] if parts else None
        if last is not None and (last.dtype, last.shape[1:]) == (tiles.dtype, tiles.shape[1:]):
            parts[-1] = torch.cat([last, tiles])
        else:
            parts.append(tiles)
    return parts


def _batches(items: Sequence[Any]) -> Iterator[dict[str, Any]]:
    from vllm.multimodal.utils import group_and_batch_mm_kwargs

    for _, _, batch in group_and_batch_mm_kwargs([("image", item) for item in items]):
        yield batch


def _model(config: Any, family: Family, encoder: _Encoder) -> Any:
    """The engine's model of a checkpoint, its constructor and weights left out."""
    from vllm.model_executor.model_loader.utils import get_model_cls

    model = _unbuilt(get_model_cls(config), config)
    if family is Family.INTERNVL_HF:
        model.vision_tower = encoder
    elif family is Family.INTERNVL_CHAT:
        model.vision_model = encoder
    else:
        from vllm.model_executor.models.idefics3 import Idefics3Model

        model.model = _unbuilt(Idefics3Model, config)
        model.model.vision_model = encoder
    return model


def _unbuilt(of_class: Any, config: Any) -> Any:
    import torch

    module = of_class.__new__(of_class)
    torch.nn.Module.__init__(module)
    module.config = config.hf_config
    return module

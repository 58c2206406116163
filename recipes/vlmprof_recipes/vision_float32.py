"""A vision encoder in float32 on a processor that cannot multiply bfloat16.

Both sets of weights are kept, so that the recipe can be switched between two requests.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch

from vlmprof.patching import PatchedCall
from vlmprof_recipes.weight_changes import state_of

RECIPE = 15


@dataclass(frozen=True, slots=True)
class _Widened:
    """A parameter's values as the engine loaded them, and in float32."""

    parameter: torch.nn.Parameter
    narrow: torch.Tensor
    wide: torch.Tensor


@dataclass(frozen=True, slots=True)
class _Kept:
    """A module's widened parameters, and the state that they had then."""

    widened: list[_Widened]
    state: tuple[Any, ...]


# Made whether the recipe is on or not: the first request pays for it, not the first one with the recipe.
_kept: WeakKeyDictionary[Any, _Kept] = WeakKeyDictionary()


def in_float32(call: PatchedCall, module: Any, *args: Any, **kwargs: Any) -> Any:
    """Call a module with float32 weights and inputs; what it returns has the type that the engine expects."""
    weights = _float32_weights(module)
    if not weights:
        return call.give_way(
            "a processor that multiplies bfloat16, or weights that are not on it", module, *args, **kwargs
        )
    if not call.uses(RECIPE):
        return call.original(module, *args, **kwargs)
    wide_kwargs = dict(zip(kwargs, _wide(kwargs.values()), strict=True))
    with _float32(weights):
        found = call.original(module, *_wide(args), **wide_kwargs)
    return found.to(torch.bfloat16)


def multiplies_bfloat16() -> bool:
    """Whether oneDNN, which multiplies for torch, has bfloat16 kernels for this processor."""
    supported: bool = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return supported


def _float32_weights(module: Any) -> list[_Widened]:
    """The module's weights in float32, made again when its own may have changed."""
    kept = _kept.get(module)
    if kept is None or kept.state != _state_of(kept.widened):
        # The old ones go first: a server may not have the memory for both.
        kept = None
        _kept.pop(module, None)
        widened = _made_float32(list(module.parameters()))
        kept = _kept[module] = _Kept(widened, _state_of(widened))
    return kept.widened


def _state_of(widened: list[_Widened]) -> tuple[Any, ...]:
    return state_of(each.parameter for each in widened)


def _made_float32(parameters: list[torch.nn.Parameter]) -> list[_Widened]:
    """None at all on another processor, or where the engine has packed a weight away and left an empty one."""
    if multiplies_bfloat16() or not all(_is_treatable(each) for each in parameters):
        return []
    # Weights made in inference mode could not take the place of those that the engine has loaded outside it.
    with torch.inference_mode(False):
        return [_Widened(each, each.data, each.data.to(torch.float32)) for each in parameters]


def _is_treatable(parameter: torch.nn.Parameter) -> bool:
    return bool(parameter.is_cpu and parameter.dtype == torch.bfloat16 and parameter.numel() > 0)


@contextmanager
def _float32(weights: list[_Widened]) -> Iterator[None]:
    try:
        for each in weights:
            each.parameter.data = each.wide
        yield
    finally:
        for each in weights:
            each.parameter.data = each.narrow


def _wide(values: Iterable[Any]) -> list[Any]:
    return [
        value.to(torch.float32)
        if isinstance(value, torch.Tensor) and value.dtype == torch.bfloat16
        else value
        for value in values
    ]

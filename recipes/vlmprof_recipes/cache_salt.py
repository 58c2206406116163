"""Keys of the multimodal caches that know which recipes are on."""

from typing import Any

from vlmprof.patching import PatchedCall


def salted_hashes(call: PatchedCall, inputs: Any, *args: Any, **kwargs: Any) -> dict[str, list[str]]:
    """The engine's hashes with the active recipes appended; equal images under equal recipes stay equal."""
    hashes: dict[str, list[str]] = call.original(inputs, *args, **kwargs)
    salt = f"-recipes-{call.mask:x}"
    return {modality: [key + salt for key in keys] for modality, keys in hashes.items()}

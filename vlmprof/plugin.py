"""What vLLM loads in each of its processes: recipes and spans where the environment asks, else nothing at all."""

import os
import sys

RECIPES_VARIABLE = "VLMPROF_RECIPES"
"""Recipes to apply, `1,2,8`, `all` or `exact`, in the environment of a served engine."""
SPANS_VARIABLE = "VLMPROF_SPANS"
"""Folder in which the server's processes record spans while `vlmprof attach` asks them to."""


def load() -> None:
    """Apply the recipes that are asked for, let the agent stand by; an entry point of `vllm.general_plugins`."""
    text = os.environ.get(RECIPES_VARIABLE, "").strip()
    if text:
        from vlmprof.patching.served import start

        start(text)
    if os.environ.get(SPANS_VARIABLE):
        _stand_by()


def _stand_by() -> None:
    try:
        from vlmprof.agent.start import start

        start()
    except Exception as error:  # noqa: BLE001 - the engine must start whatever is wrong with the agent
        print(f"vlmprof: span agent not loaded: {error!r}", file=sys.stderr)  # noqa: T201

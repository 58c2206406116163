"""Loads the span agent into every interpreter that has this folder on PYTHONPATH.

The engine's environment needs nothing of vlmprof installed: the agent is standard library only and is loaded
from its folder under a name of its own. Whatever happens here, the engine starts as if this were absent.
"""

import importlib.machinery
import importlib.util
import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))


def _load_agent() -> None:
    name = "_vlmprof_agent"
    package = os.path.dirname(_HERE)
    spec = importlib.util.spec_from_file_location(
        name, os.path.join(package, "__init__.py"), submodule_search_locations=[package]
    )
    if spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    importlib.import_module(f"{name}.start").start()


def _run_shadowed_sitecustomize() -> None:
    """This file hides any other sitecustomize: run the next one that the path would have found."""
    elsewhere = [entry for entry in sys.path if os.path.abspath(entry or os.curdir) != _HERE]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", elsewhere)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


if os.environ.get("VLMPROF_AGENT_DIR") or os.environ.get("VLMPROF_SPANS"):
    try:
        _load_agent()
    except Exception as error:  # noqa: BLE001 - the engine must start whatever is wrong with the agent
        print(f"vlmprof: span agent not loaded: {error!r}", file=sys.stderr)  # noqa: T201
_run_shadowed_sitecustomize()

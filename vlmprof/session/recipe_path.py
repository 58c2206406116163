"""A folder for PYTHONPATH that brings recipes into an interpreter which does not have vlmprof installed."""

import importlib.metadata
import importlib.util
from pathlib import Path

from vlmprof import __version__
from vlmprof.patching.registry import ENTRY_POINT_GROUP

_PLUGIN_GROUP = "vllm.general_plugins"
_PLUGIN = "vlmprof = vlmprof.plugin:load"


def make_recipe_path(folder: Path) -> Path:
    """Link vlmprof and every package that offers recipes into a folder of their own, with their entry points.

    The folder holds nothing else: the rest of this interpreter's packages must not come before the engine's.
    """
    path = folder / "recipe-path"
    metadata = path / f"vlmprof-{__version__}.dist-info"
    metadata.mkdir(parents=True, exist_ok=True)
    offered = sorted(
        {(each.name, each.value) for each in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)}
    )
    for package in {"vlmprof", *(value.partition(":")[0].partition(".")[0] for _, value in offered)}:
        _link(path / package, package)
    recipes = "\n".join(f"{name} = {value}" for name, value in offered)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vlmprof\nVersion: {__version__}\n")
    (metadata / "entry_points.txt").write_text(
        f"[{_PLUGIN_GROUP}]\n{_PLUGIN}\n\n[{ENTRY_POINT_GROUP}]\n{recipes}\n"
    )
    return path.resolve()


def _link(link: Path, package: str) -> None:
    spec = importlib.util.find_spec(package)
    if spec is not None and spec.origin is not None and not link.is_symlink():
        link.symlink_to(Path(spec.origin).resolve().parent, target_is_directory=True)

"""The engine that a run was made with, as far as recipes and their commands ask: it need not be installed here."""

from vlmprof.model.run_info import RunInfo
from vlmprof.patching.versions import NamedVersions


def versions_of(info: RunInfo) -> NamedVersions:
    """Versions of a run's engine and its libraries; none where other programs' files do not say them."""
    if info.engine is None:
        return NamedVersions({})
    return NamedVersions({info.engine.name: info.engine.version} | info.engine.packages)


def named_python(info: RunInfo) -> str:
    """The engine's interpreter as the run's command line names it; empty where it does not."""
    own, _ = _divided(info.command)
    for place, word in enumerate(own):
        if word == "--python":
            return "".join(own[place + 1 : place + 2])
        if word.startswith("--python="):
            return word.removeprefix("--python=")
    return ""


def engine_args(info: RunInfo) -> tuple[str, ...]:
    """What the run's command line hands on to the engine."""
    return tuple(_divided(info.command)[1])


def _divided(command: list[str]) -> tuple[list[str], list[str]]:
    """A command line's own words, and those after `--`."""
    end = command.index("--") if "--" in command else len(command)
    return command[:end], command[end + 1 :]

"""The workload that a run was made with, in the words of its own command line."""

from vlmprof.model.run_info import RunInfo

_OPTIONS = (
    "--images",
    "--prompt",
    "--requests",
    "--warmup",
    "--concurrency",
    "--rate",
    "--max-tokens",
    "--seed",
)
"""Each takes one value, and means the same to `run`, `attach` and `ladder`."""


def workload_words(info: RunInfo) -> tuple[str, ...]:
    """What says again what was sent, so that a command that tries something meets the same requests.

    What the command line did not say is left to the defaults, as it was then. Nothing is known of a run that
    another program recorded or that no command line started.
    """
    said: list[str] = []
    words = iter(info.command[: info.command.index("--")] if "--" in info.command else info.command)
    for word in words:
        if word.startswith(tuple(f"{option}=" for option in _OPTIONS)):
            said.append(word)
        elif word in _OPTIONS:
            said += [word, next(words, "")]
    return tuple(said)

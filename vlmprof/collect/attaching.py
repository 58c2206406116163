"""What a collector answers that only attaches to a running server and changes nothing about its start."""


class Attaching:
    """The part of the interface that wraps the server's start, doing nothing."""

    def wrap_command(self, command: list[str]) -> list[str]:
        return command

    def environment(self) -> dict[str, str]:
        return {}

    def engine_args(self) -> list[str]:
        return []

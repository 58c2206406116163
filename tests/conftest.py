"""Golden texts, which change only by an explicit `--update-golden`, and what all tests are started with."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from vlmprof.errors import RecipeMisfit
from vlmprof.patching import Family
from vlmprof.patching.registry import load_recipes
from vlmprof.patching.source import InstalledSource
from vlmprof.session.baseline import choose_baseline

GOLDEN = Path(__file__).parent / "golden"

# The same examples every time, however slow the machine is: what fails once fails always, and is seen where it was
# written. `--hypothesis-profile=search` looks for new ones.
_ANYWHERE = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
settings.register_profile("repeatable", deadline=None, suppress_health_check=_ANYWHERE, derandomize=True)
settings.register_profile("search", deadline=None, suppress_health_check=_ANYWHERE, max_examples=2000)
settings.load_profile("repeatable")

# How wide and colourful the terminal is in which the tests are started is no concern of theirs.
for name in ("CLICOLOR", "CLICOLOR_FORCE", "FORCE_COLOR", "GITHUB_ACTIONS", "NO_COLOR", "PY_COLORS"):
    os.environ.pop(name, None)
os.environ |= {"COLUMNS": "100", "LINES": "40", "TERM": "xterm"}

# A shell that starts the tests in the background has them ignore Ctrl-C, and so would all that they start.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write golden texts instead of comparing")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with `tests/golden/<name>`."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"no golden text {name}: run pytest --update-golden and read what it wrote"
        assert text == path.read_text(encoding="utf-8")

    return compare


@pytest.fixture(scope="session")
def pil_is_old() -> None:
    """Skips where the engine uses PIL today: beside torchvision before 0.27."""
    try:
        choose_baseline("pil", Family.IDEFICS3, load_recipes(), InstalledSource())
    except RecipeMisfit as error:
        pytest.skip(error.message)

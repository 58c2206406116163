"""Patches: checked, installed wherever a function is bound, switched, counted, undone to the identical object."""

import importlib
import json
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from vlmprof.errors import ExitCode, RecipeMisfit
from vlmprof.model.run_folder import RunFolder
from vlmprof.patching import (
    Diagnosis,
    Family,
    Fits,
    Original,
    Patch,
    PatchCounts,
    PatchSet,
    Recipe,
    RecipeSwitch,
    fingerprint,
)

_FAMILY = Family.IDEFICS3

_ENGINE = textwrap.dedent("""
    def double(number):
        return 2 * number

    class Base:
        def inherited(self, number):
            return number

    def prepare(numbers, between):
        return [(double(number), between())[0] for number in numbers]

    class Model(Base):
        def encode(self, number):
            if number < 0:
                raise ValueError("negative")
            return number + 1

        @staticmethod
        def load(number):
            return number - 1
""")
_USER = "from toy_engine import double\nearlier = double\n"
_REPLACEMENTS = textwrap.dedent("""
    def ten_times(call, *args):
        return 10 * call.original(*args)

    def broken(call, *args):
        raise RuntimeError("a defect of the recipe")

    def odd(call, *args):
        return call.give_way("odd numbers", *args)

    def of_recipe_2(call, *args):
        return 10 * call.original(*args) if call.uses(2) else call.original(*args)

    def of_nobody(call, *args):
        call.uses()
        return call.original(*args)

    def as_it_is(call, *args):
        return call.original(*args)

    def negated(call, *args):
        return -call.original(*args)
""")


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A toy engine, a user of it that bound its function, and replacements, all really imported."""
    for name, source in (
        ("toy_engine", _ENGINE),
        ("toy_user", _USER),
        ("toy_replacements", _REPLACEMENTS),
    ):
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("toy_engine")
    for name in ("toy_engine", "toy_user", "toy_replacements"):
        sys.modules.pop(name, None)


def _no_diagnosis(_run: RunFolder) -> Diagnosis:
    return Diagnosis()


def _patch(original: Callable[..., Any], name: str, parameters: str, by: str = "ten_times") -> Patch:
    return Patch(
        target=f"toy_engine:{name}",
        replacement=f"toy_replacements:{by}",
        parameters=tuple(parameters.split()),
        fingerprints=(fingerprint(original),),
    )


def _recipe(*patches: Patch, number: int = 1, fits: tuple[Fits, ...] = ()) -> Recipe:
    return Recipe(
        number=number,
        slug="toy",
        title="toy",
        paper="-",
        here="-",
        standing={},
        diagnose=_no_diagnosis,
        patches={_FAMILY: patches},
        fits={_FAMILY: fits},
    )


def _double(engine: ModuleType, by: str = "ten_times") -> Patch:
    return _patch(engine.double, "double", "number", by)


def test_a_function_is_replaced_also_where_an_earlier_import_bound_it(engine: ModuleType) -> None:
    """double(3) is 6, ten times that 60, through the module and through both names of its user."""
    user = importlib.import_module("toy_user")
    patches = PatchSet([_recipe(_double(engine))], RecipeSwitch.private([1]), _FAMILY)
    patches.apply()
    assert (engine.double(3), user.double(3), user.earlier(3)) == (60, 60, 60)
    patches.undo()
    assert (engine.double(3), user.double(3), user.earlier(3)) == (6, 6, 6)


def test_a_module_that_is_loaded_later_is_patched_before_anyone_binds_its_function(
    engine: ModuleType,
) -> None:
    """The user imports the engine itself here, and gets the replacement already."""
    patches = PatchSet([_recipe(_double(engine))], RecipeSwitch.private([1]), _FAMILY)
    del sys.modules["toy_engine"]
    patches.apply()
    user = importlib.import_module("toy_user")
    assert user.earlier(3) == 60
    patches.undo()
    assert user.earlier(3) == 6


def test_methods_static_methods_and_inherited_ones_are_replaced_and_undone_to_the_identical_object(
    engine: ModuleType,
) -> None:
    """encode(1) is 2, load(3) is 2, inherited(4) is 4; the base class keeps its own method throughout."""
    model = engine.Model
    patches = [
        _patch(model.encode, "Model.encode", "self number"),
        _patch(model.load, "Model.load", "number"),
        _patch(model.inherited, "Model.inherited", "self number"),
    ]
    before = dict(vars(model))
    patch_set = PatchSet([_recipe(*patches)], RecipeSwitch.private([1]), _FAMILY)
    patch_set.apply()
    assert (model().encode(1), model.load(3), model().inherited(4)) == (20, 20, 40)
    assert engine.Base().inherited(4) == 4
    patch_set.undo()
    after = dict(vars(model))
    assert after.keys() == before.keys()
    assert all(after[name] is before[name] for name in ("encode", "load"))


def test_two_recipes_on_one_function_stack_and_are_undone_last_first(engine: ModuleType) -> None:
    """6, 60, 600; undoing in the other order would leave one replacement behind."""
    original = engine.double
    first = _recipe(_double(engine), number=1)
    second = _recipe(replace(_double(engine), follows_switch=False), number=2)
    patches = PatchSet([first, second], RecipeSwitch.private([1, 2]), _FAMILY)
    patches.apply()
    assert engine.double(3) == 600
    patches.undo()
    assert engine.double is original


def test_a_patch_that_two_recipes_share_is_installed_once_and_acts_for_either(engine: ModuleType) -> None:
    """60 with recipe 1, 60 with recipe 2, 60 with both, 6 with none."""
    switch = RecipeSwitch.private()
    patches = PatchSet([_recipe(_double(engine), number=n) for n in (1, 2)], switch, _FAMILY)
    patches.apply()
    found = []
    for numbers in ([1], [2], [1, 2], []):
        switch.set(numbers)
        found.append(engine.double(3))
    patches.undo()
    assert found == [60, 60, 60, 6]


def test_calls_are_counted_while_the_recipe_is_on(engine: ModuleType) -> None:
    """Two of three calls are made with the recipe on."""
    switch = RecipeSwitch.private([1])
    patches = PatchSet([_recipe(_double(engine))], switch, _FAMILY)
    patches.apply()
    engine.double(1)
    engine.double(1)
    switch.set([])
    engine.double(1)
    patches.undo()
    assert patches.counts() == {"toy_engine:double": PatchCounts(calls=2, failures=0)}


@pytest.mark.parametrize(("before", "expected"), [([1], [20, 40]), ([], [2, 4])])
def test_a_switch_that_is_turned_within_a_held_call_is_seen_by_the_next_one(
    engine: ModuleType, before: list[int], expected: list[int]
) -> None:
    """Both numbers are doubled with the recipe, or both without it; the call after that is of the other mind."""
    switch = RecipeSwitch.private(before)
    holding = replace(
        _patch(engine.prepare, "prepare", "numbers between", by="as_it_is"),
        follows_switch=False,
        shows_use=False,
        holds_switch=True,
    )
    patches = PatchSet([_recipe(_double(engine), holding)], switch, _FAMILY)
    patches.apply()
    other = [] if before else [1]
    found = engine.prepare([1, 2], lambda: switch.set(other))
    after = engine.double(1)
    patches.undo()
    assert (found, after) == (expected, 2 if before else 20)


def test_a_switch_is_held_for_one_thread_alone() -> None:
    """Another thread sees at once what is set, as this one does when it is out."""
    switch = RecipeSwitch.private([1])
    seen: list[int] = []
    with switch.held():
        switch.set([2])
        seen.append(switch.mask)
        thread = threading.Thread(target=lambda: seen.append(switch.mask))
        thread.start()
        thread.join()
    assert [*seen, switch.mask] == [0b10, 0b100, 0b100]


def test_a_switch_is_let_go_when_what_it_was_held_for_fails(engine: ModuleType) -> None:
    """The engine refuses a negative number; the recipe that is turned off then is off."""
    switch = RecipeSwitch.private([1])
    encode = replace(
        _patch(engine.Model.encode, "Model.encode", "self number"), follows_switch=False, holds_switch=True
    )
    patches = PatchSet([_recipe(encode)], switch, _FAMILY)
    patches.apply()
    with pytest.raises(ValueError, match="negative"):
        engine.Model().encode(-1)
    patches.undo()
    switch.set([])
    assert switch.mask == 0


class _Ledger:
    """Keeps the masks that it is told."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.failures: list[int] = []
        self.gave_way: list[tuple[int, str]] = []

    def add_calls(self, mask: int) -> None:
        self.calls.append(mask)

    def add_failures(self, mask: int) -> None:
        self.failures.append(mask)

    def add_gave_way(self, mask: int, reason: str) -> None:
        self.gave_way.append((mask, reason))


_IDLE = "nothing was left for it to do"


@pytest.mark.parametrize(
    ("by", "on", "calls", "gave_way"),
    [
        ("ten_times", [1, 2], [0b110], []),
        ("odd", [1, 2], [0b110], [(0b110, "odd numbers")]),
        ("of_recipe_2", [1, 2], [0b110], [(0b010, _IDLE)]),
        ("of_recipe_2", [1], [0b010], [(0b010, _IDLE)]),
        ("of_recipe_2", [2], [0b100], []),
        ("of_nobody", [1, 2], [0b110], [(0b110, _IDLE)]),
        ("of_nobody", [], [], []),
    ],
)
def test_a_call_is_the_use_of_the_recipes_that_did_their_work_in_it(
    engine: ModuleType, by: str, on: list[int], calls: list[int], gave_way: list[tuple[int, str]]
) -> None:
    """Two recipes share a patch: of all that are on where the replacement says nothing, else of those it names."""
    ledger = _Ledger()
    shared = replace(_double(engine, by=by), follows_switch=False)
    recipes = [_recipe(shared, number=number) for number in (1, 2)]
    patches = PatchSet(recipes, RecipeSwitch.private(on), _FAMILY, ledger=ledger)
    patches.apply()
    engine.double(3)
    patches.undo()
    assert (ledger.calls, ledger.failures, ledger.gave_way) == (calls, [], gave_way)
    counted = PatchCounts(calls=1, failures=0, gave_way=int(by == "odd"))
    assert patches.counts() == {"toy_engine:double": counted}


def test_what_the_original_raises_for_a_replacement_that_gave_way_is_no_use(engine: ModuleType) -> None:
    """The engine refuses a negative number, and the recipe had nothing to do with it."""
    ledger = _Ledger()
    encode = _patch(engine.Model.encode, "Model.encode", "self number", by="odd")
    patches = PatchSet([_recipe(encode)], RecipeSwitch.private([1]), _FAMILY, ledger=ledger)
    patches.apply()
    with pytest.raises(ValueError, match="negative"):
        engine.Model().encode(-1)
    patches.undo()
    assert (ledger.calls, ledger.failures, ledger.gave_way) == ([0b10], [], [(0b10, "odd numbers")])


def test_a_failure_while_all_recipes_are_off_is_one_of_each_that_the_patch_is_of(engine: ModuleType) -> None:
    """What a recipe had sent made it act: 6 of the original, one call and one failure of recipes 1 and 2."""
    ledger = _Ledger()
    shared = replace(_double(engine, by="broken"), follows_switch=False)
    recipes = [_recipe(shared, number=number) for number in (1, 2)]
    patches = PatchSet(recipes, RecipeSwitch.private(), _FAMILY, ledger=ledger)
    patches.apply()
    assert engine.double(3) == 6
    patches.undo()
    assert (ledger.calls, ledger.failures, ledger.gave_way) == ([0b110], [0b110], [])


def test_a_patch_that_every_request_goes_through_shows_no_recipe_s_use(engine: ModuleType) -> None:
    """Its call is counted because it fails; one of the other patch shows the use of recipe 1, whose mask is 2."""
    ledger = _Ledger()
    shared = replace(_double(engine, by="broken"), shows_use=False)
    encode = _patch(engine.Model.encode, "Model.encode", "self number")
    recipe = replace(_recipe(encode), patches={_FAMILY: (shared, encode)})
    patches = PatchSet([recipe], RecipeSwitch.private([1]), _FAMILY, ledger=ledger)
    patches.apply()
    assert (engine.double(3), engine.Model().encode(1)) == (6, 20)
    patches.undo()
    assert (ledger.calls, ledger.failures, ledger.gave_way) == ([2, 2], [2], [])


def test_a_replacement_that_raises_gives_way_to_the_original_and_is_counted(
    engine: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    """Both calls get 6 from the original; the log tells the first failure, the counts both."""
    patches = PatchSet([_recipe(_double(engine, by="broken"))], RecipeSwitch.private([1]), _FAMILY)
    patches.apply()
    assert [engine.double(3), engine.double(3)] == [6, 6]
    patches.undo()
    assert patches.counts() == {"toy_engine:double": PatchCounts(calls=2, failures=2)}
    assert [record.getMessage() for record in caplog.records] == [
        "recipe for toy_engine:double failed; the engine's own way is taken"
    ]


def test_a_replacement_that_raises_gives_way_to_the_patch_s_fallback(
    engine: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    """-6 twice, where the original alone would have made 6; both failures are counted, the first is logged."""
    patch = replace(_double(engine, by="broken"), fallback="toy_replacements:negated")
    patches = PatchSet([_recipe(patch)], RecipeSwitch.private([1]), _FAMILY)
    patches.apply()
    assert [engine.double(3), engine.double(3)] == [-6, -6]
    patches.undo()
    assert patches.counts() == {"toy_engine:double": PatchCounts(calls=2, failures=2)}
    assert [record.getMessage() for record in caplog.records] == [
        "recipe for toy_engine:double failed; toy_replacements:negated is taken"
    ]


def test_a_fallback_that_raises_too_gives_way_to_the_original(
    engine: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    """6, and one failure; the log tells of both."""
    patch = replace(_double(engine, by="broken"), fallback="toy_replacements:broken")
    patches = PatchSet([_recipe(patch)], RecipeSwitch.private([1]), _FAMILY)
    patches.apply()
    assert engine.double(3) == 6
    patches.undo()
    assert patches.counts() == {"toy_engine:double": PatchCounts(calls=1, failures=1)}
    assert caplog.records[-1].getMessage() == "fallback for toy_engine:double failed too"


def test_what_the_original_raises_in_a_fallback_is_raised(engine: ModuleType) -> None:
    """A negative number is refused by the engine, whichever way it comes to it."""
    encode = _patch(engine.Model.encode, "Model.encode", "self number", by="broken")
    patches = PatchSet(
        [_recipe(replace(encode, fallback="toy_replacements:negated"))], RecipeSwitch.private([1]), _FAMILY
    )
    patches.apply()
    with pytest.raises(ValueError, match="negative"):
        engine.Model().encode(-1)
    patches.undo()


def test_what_the_original_raises_is_raised_and_is_no_failure_of_the_recipe(engine: ModuleType) -> None:
    """A negative number is refused with and without the recipe, and not tried twice."""
    model = engine.Model
    patches = PatchSet(
        [_recipe(_patch(model.encode, "Model.encode", "self number"))], RecipeSwitch.private([1]), _FAMILY
    )
    patches.apply()
    with pytest.raises(ValueError, match="negative"):
        model().encode(-1)
    patches.undo()
    assert patches.counts()["toy_engine:Model.encode"] == PatchCounts(calls=1, failures=0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"fingerprints": ("0123456789abcdef",)}, "not 0123456789abcdef"),
        ({"parameters": ("value",)}, "its parameters are (number), not (value)"),
        ({"target": "toy_engine:triple"}, "does not have"),
    ],
)
def test_a_misfit_is_refused_before_anything_is_changed(
    engine: ModuleType, change: dict[str, Any], said: str
) -> None:
    """The message names recipe and function; the first patch of the recipe, which fits, is not left behind."""
    original = engine.Model.load
    fitting = _patch(original, "Model.load", "number")
    patches = PatchSet(
        [_recipe(fitting, replace(_double(engine), **change), number=7)], RecipeSwitch.private(), _FAMILY
    )
    with pytest.raises(RecipeMisfit) as refused:
        patches.check()
    assert "recipe 7" in refused.value.message
    assert said in refused.value.message
    assert refused.value.exit_code == ExitCode.RECIPE_MISFIT
    with pytest.raises(RecipeMisfit):
        patches.apply()
    assert engine.Model.load is original


@pytest.mark.parametrize(
    ("replacement", "error"), [("no_such_module:f", ImportError), ("toy_replacements:absent", AttributeError)]
)
def test_a_replacement_that_is_not_there_leaves_no_earlier_patch_behind(
    engine: ModuleType, replacement: str, error: type[Exception]
) -> None:
    """The first patch of the recipe, whose replacement is there, is undone, and no module is waited for."""
    original, finders = engine.Model.load, list(sys.meta_path)
    fitting = _patch(original, "Model.load", "number")
    lacking = replace(_double(engine), replacement=replacement)
    patches = PatchSet([_recipe(fitting, lacking)], RecipeSwitch.private(), _FAMILY)
    with pytest.raises(error):
        patches.apply()
    assert engine.Model.load is original
    assert sys.meta_path == finders


def test_an_earlier_version_with_other_parameters_is_accepted_where_the_patch_knows_it(
    engine: ModuleType,
) -> None:
    """The installed function is the earlier one; with another's parameters its fingerprint does not count."""
    newer = replace(_double(engine), parameters=("number", "factor"), fingerprints=("0123456789abcdef",))
    known = replace(newer, earlier=(Original(("number",), fingerprint(engine.double)),))
    PatchSet([_recipe(known)], RecipeSwitch.private(), _FAMILY).check()
    other = replace(newer, earlier=(Original(("value",), fingerprint(engine.double)),))
    with pytest.raises(RecipeMisfit, match="its parameters are"):
        PatchSet([_recipe(other)], RecipeSwitch.private(), _FAMILY).check()


def test_a_recipe_for_an_engine_that_is_not_installed_is_refused(engine: ModuleType) -> None:
    """`apply` would wait for the module for ever: `check` asks for it."""
    patch = replace(_double(engine), target="toy_engine_2:double")
    with pytest.raises(RecipeMisfit, match="toy_engine_2 does not have"):
        PatchSet([_recipe(patch)], RecipeSwitch.private(), _FAMILY).check()


@pytest.mark.parametrize(
    ("fits", "said"),
    [
        (Fits(("pytest",), "1.0", "2.0"), "fits pytest 1.0 up to, not including, 2.0"),
        (Fits(("no-such-engine",), "1.0", "2.0"), "no-such-engine, which is not installed"),
    ],
)
def test_a_version_outside_the_range_is_refused(engine: ModuleType, fits: Fits, said: str) -> None:
    """The installed pytest is newer than 2.0; the other distribution does not exist."""
    patches = PatchSet([_recipe(_double(engine), fits=(fits,))], RecipeSwitch.private(), _FAMILY)
    with pytest.raises(RecipeMisfit, match=said):
        patches.check()


def test_the_switch_of_another_process_is_obeyed_and_obeys(engine: ModuleType, tmp_path: Path) -> None:
    """This process turns recipe 1 on for the child, the child then turns on 1 and 63 for this process."""
    path = tmp_path / "switch"
    path.write_bytes(b"\x01" + bytes(63))
    switch = RecipeSwitch.shared(path)
    switch.set([1])
    program = (
        "import json, sys\nfrom pathlib import Path\nfrom vlmprof.patching import RecipeSwitch\n"
        "switch = RecipeSwitch.shared(Path(sys.argv[1]))\nprint(json.dumps(switch.mask))\nswitch.set([1, 63])\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
    )
    assert json.loads(child.stdout) == 0b10
    assert switch.mask == 1 << 63 | 0b10
    assert path.read_bytes()[:8] == b"\x01" + bytes(7), "the agent's byte is left alone"
    patches = PatchSet([_recipe(_double(engine))], switch, _FAMILY)
    patches.apply()
    assert engine.double(3) == 60
    patches.undo()


def test_a_switch_that_two_processes_make_at_once_is_one_and_keeps_what_was_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process makes it, and turns on 5, after this one has looked for it: none of that is lost."""
    path, others = tmp_path / "switch", []

    def looked_too_early(_path: Path) -> bool:
        monkeypatch.undo()
        others.append(RecipeSwitch.shared(path))
        others[0].set([5])
        return False

    monkeypatch.setattr(Path, "exists", looked_too_early)
    switch = RecipeSwitch.shared(path)
    assert switch.mask == 1 << 5
    switch.set([7])
    assert others[0].mask == 1 << 7
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("number", [0, 64])
def test_a_number_without_a_bit_is_refused(number: int) -> None:
    """Bit 0 is nobody's, and 63 is the last bit."""
    with pytest.raises(ValueError, match="1 to 63"):
        RecipeSwitch.private([number])

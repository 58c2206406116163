"""Which recipes would save how much of a run's TTFT: ranked, with what shows it and the command that tries it."""

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from vlmprof.analysis.suggest_evidence import evidence_of
from vlmprof.analysis.suggest_model import SavingModel
from vlmprof.model.suggestions import NotSuggested, Saving, Suggestion
from vlmprof.patching.recipe import Recipe
from vlmprof.patching.registry import with_needs
from vlmprof.units import NS_PER_US

SMALLEST_SAVING_NS = 50 * NS_PER_US
"""Less than this, no run could show."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """What could be switched on.

    Attributes:
        recipes: those that have a change to make to the served model, whether or not they were on.
        active: those that were on.
        notes: what a recipe's diagnosis leaves out, by number.
        checkpoint: the model as the command line names it.
        baseline: name of the old behaviour that the run was made with; empty for none.
        python: the engine's interpreter, where the run named one; engine_args: what it handed on to the engine.
        workload: the options that say what the run sent, as its command line had them.
    """

    recipes: Mapping[int, Recipe]
    active: frozenset[int]
    notes: Mapping[int, str]
    checkpoint: str
    baseline: str = ""
    python: str = ""
    engine_args: tuple[str, ...] = ()
    workload: tuple[str, ...] = ()

    def with_needs(self, numbers: Iterable[int]) -> frozenset[int]:
        """A set of recipes with all that they need, directly or not; those that were on are left out."""
        return with_needs(numbers, self.recipes) - self.active

    def clashing(self, numbers: Iterable[int], others: Iterable[int]) -> list[int]:
        """Which of the others may not be on together with a set."""
        wanted = frozenset(numbers)
        return sorted(
            other
            for other in frozenset(others) - wanted
            if wanted & set(self.recipes[other].conflicts)
            or any(other in self.recipes[number].conflicts for number in wanted)
        )

    def command(self, numbers: Iterable[int]) -> str:
        """What measures a set of recipes against those that were on, with the requests of the run."""
        words = ["vlmprof", "run", self.checkpoint]
        words += ["--python", self.python] if self.python else []
        words += self.workload
        words += ["--baseline", self.baseline] if self.baseline else []
        words += ["--recipes", _listed(self.active)] if self.active else []
        words += ["--ab", _listed(self.active.union(numbers))]
        return shlex.join([*words, *(("--", *self.engine_args) if self.engine_args else ())])


def rank(model: SavingModel, candidates: Candidates) -> tuple[list[Suggestion], list[NotSuggested]]:
    """Recipes that would help, in order of what each would save, and those that would not."""
    savings = {
        number: model.saving({number}, given=candidates.with_needs(recipe.needs))
        for number, recipe in candidates.recipes.items()
        if number not in candidates.active
    }
    order = sorted(savings, key=lambda number: (-savings[number].saving_ns, number))
    above: frozenset[int] = frozenset()
    suggestions, useless = [], []
    for number in order:
        if savings[number].saving_ns < SMALLEST_SAVING_NS:
            useless.append(
                _useless(candidates.recipes[number], savings[number], candidates.notes.get(number, ""))
            )
            continue
        suggestion = _suggestion(model, candidates, number, savings[number], above)
        suggestions.append(suggestion)
        if suggestion.added is not None:
            above |= frozenset(suggestion.tested)
    return suggestions, useless


def _suggestion(
    model: SavingModel,
    candidates: Candidates,
    number: int,
    saving: Saving,
    above: frozenset[int],
) -> Suggestion:
    recipe, tested = candidates.recipes[number], candidates.with_needs([number])
    clashing = candidates.clashing(tested, above | candidates.active)
    return Suggestion(
        number=number,
        slug=recipe.slug,
        title=recipe.title,
        saving=saving,
        added=None if clashing else model.saving(tested - above, given=above),
        conflicts_with=clashing,
        tested=sorted(tested),
        exactness=recipe.exactness,
        switching=recipe.switching,
        evidence=evidence_of(model, number),
        command=candidates.command(tested),
        note=candidates.notes.get(number, ""),
    )


def _useless(recipe: Recipe, saving: Saving, note: str) -> NotSuggested:
    if saving.saving_ns < -SMALLEST_SAVING_NS:
        reason = f"would cost {-saving.saving_ns / 1e6:.1f} ms here"
    else:
        reason = "; ".join(filter(None, ("the samples show nothing that it would change", note)))
    return NotSuggested(number=recipe.number, slug=recipe.slug, reason=reason)


def all_together(suggestions: Iterable[Suggestion]) -> frozenset[int]:
    """Every suggested recipe that can be on with those above it, and what they need."""
    return frozenset(number for each in suggestions if each.added is not None for number in each.tested)


def _listed(numbers: Iterable[int]) -> str:
    return ",".join(map(str, sorted(numbers)))

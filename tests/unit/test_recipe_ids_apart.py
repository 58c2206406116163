"""Which ids of a tokenizer may be put between others without tokenizing the text again."""

from typing import Any

import pytest

tokenizers = pytest.importorskip("tokenizers", reason="the models' extra is not installed")

from vlmprof_recipes.ids_apart import apart_from_text, is_apart  # noqa: E402


class _Fast:
    """As far as the recipe sees of transformers' tokenizers that have a backend; counts what it is asked for."""

    def __init__(self, *, prefix_space: bool = False) -> None:
        self._backend = tokenizers.Tokenizer(tokenizers.models.BPE({"a": 0}, []))
        self._backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
        self._backend.add_special_tokens(["<img>", tokenizers.AddedToken("<pad>", lstrip=True)])
        self._backend.add_tokens(["plain"])
        self.asked = 0

    @property
    def backend_tokenizer(self) -> Any:
        self.asked += 1
        return self._backend


class _Slow:
    """A tokenizer in Python has no such attribute."""


def test_special_tokens_of_a_byte_level_tokenizer_are_apart() -> None:
    """1 is `<img>`; 2 takes the space before it along, and 3 is a piece of text."""
    assert apart_from_text(_Fast()) == {1}


@pytest.mark.parametrize("tokenizer", [_Slow(), _Fast(prefix_space=True)], ids=["slow", "prefix space"])
def test_no_id_of_another_tokenizer_is_held_to_be_apart(tokenizer: Any) -> None:
    """The recipe then leaves the prompt to the engine, which is no failure of it."""
    assert apart_from_text(tokenizer) == frozenset()


def test_a_tokenizer_is_looked_at_once() -> None:
    """Requests after the first one get what was found then."""
    tokenizer = _Fast()
    assert [apart_from_text(tokenizer) for _ in range(3)] == [{1}] * 3
    assert tokenizer.asked == 1


@pytest.mark.parametrize(("full", "expected"), [([1, 7, 1], True), ([1, 7], False), ([], False)])
def test_ids_are_apart_from_text_if_both_ends_are(full: list[int], expected: bool) -> None:
    """What is between the ends no text touches."""
    assert is_apart(full, frozenset({1})) is expected

"""Tokenizers trained on the spot: real ids, real size, text that comes back as it was."""

import json
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from vlmprof.errors import ToolMissing
from vlmprof.models import CHECKPOINTS, tokenizer
from vlmprof.models.checkpoint import Json, Vocabulary
from vlmprof.models.tokenizer import build_tokenizer, speakable_rows

SMOLVLM = CHECKPOINTS["SmolVLM-256M"].vocabulary
QWEN = CHECKPOINTS["Qwen3-VL-2B"].vocabulary


@pytest.fixture(scope="module")
def short_corpus() -> Iterator[None]:
    """Thirty modules instead of six hundred: a tenth of the time."""
    corpus = tokenizer._corpus
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenizer, "_corpus", lambda: corpus()[:30])
        yield


@pytest.fixture(scope="module")
def smolvlm(short_corpus: None) -> Json:
    return build_tokenizer(SMOLVLM)


@pytest.fixture(scope="module")
def qwen(short_corpus: None) -> Json:
    return build_tokenizer(QWEN)


@pytest.fixture(params=["smolvlm", "qwen"])
def both(request: pytest.FixtureRequest) -> tuple[Vocabulary, Tokenizer]:
    """Each family's vocabulary and the tokenizer as the `tokenizers` package reads it."""
    vocabulary = SMOLVLM if request.param == "smolvlm" else QWEN
    return vocabulary, _load(request.getfixturevalue(request.param))


def _load(content: Json) -> Tokenizer:
    return Tokenizer.from_str(json.dumps(content))


def test_text_comes_back_as_it_was(both: tuple[Vocabulary, Tokenizer]) -> None:
    """Byte-level: also what no training text holds."""
    _, loaded = both
    text = "What is in this picture?\n\nÄpfel, 123 猫 \U0001f600"
    assert loaded.decode(loaded.encode(text).ids) == text


def test_every_added_token_is_one_token_with_its_real_id(both: tuple[Vocabulary, Tokenizer]) -> None:
    vocabulary, loaded = both
    for token in vocabulary.added:
        assert loaded.encode(token.text).ids == [token.id]


def test_the_vocabulary_has_its_real_size(both: tuple[Vocabulary, Tokenizer]) -> None:
    """Ordinary tokens, placeholders included, plus those added after them."""
    vocabulary, loaded = both
    beyond = [token for token in vocabulary.added if token.id >= vocabulary.ordinary]
    assert loaded.get_vocab_size() == vocabulary.ordinary + len(beyond)


def test_digits_are_single_tokens(both: tuple[Vocabulary, Tokenizer]) -> None:
    """Both families split numbers: `2024` costs one token a digit."""
    _, loaded = both
    assert len(loaded.encode("2024").ids) == 4


def test_training_twice_gives_the_same_tokenizer(smolvlm: Json, short_corpus: None) -> None:
    assert build_tokenizer(SMOLVLM) == smolvlm


def test_a_blank_line_is_one_token_for_smolvlm(smolvlm: Json) -> None:
    """SmolVLM writes two newlines between the tiles and the whole image; SmolLM2 has that token."""
    assert len(_load(smolvlm).encode("\n\n").ids) == 1


def test_only_tokens_that_print_are_speakable(qwen: Json) -> None:
    """An "a" prints; a newline, a lone lead byte of UTF-8, control tokens and placeholders do not."""
    speakable = speakable_rows(qwen, QWEN)
    ids = qwen["model"]["vocab"]
    assert speakable[ids["a"]]
    assert speakable[ids["\u0120the"]]
    assert not speakable[ids["\u010a"]]
    assert not speakable[ids["\u00e2"]]
    assert not speakable[QWEN.id_of("<|im_end|>")]
    assert not speakable[QWEN.id_of("<think>")]
    assert not speakable[QWEN.ordinary - 1]
    assert not speakable[QWEN.rows - 1]


def test_speakable_tokens_decode_to_visible_text(smolvlm: Json) -> None:
    """Checked against the tokenizer's own decoder, one by one."""
    loaded = _load(smolvlm)
    ids = speakable_rows(smolvlm, SMOLVLM).nonzero()[0].tolist()
    assert len(ids) > 5000
    for text in (loaded.decode([index]) for index in ids):
        assert text.strip()
        assert "\ufffd" not in text


def test_an_absent_standard_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(ToolMissing, match=str(tmp_path)):
        build_tokenizer(SMOLVLM)


def test_an_absent_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """None in sys.modules makes an import fail as for a package that is not installed."""
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ToolMissing, match="tokenizers") as caught:
        build_tokenizer(SMOLVLM)
    assert caught.value.hint == "pip install 'vlmprof[models]'"
    assert caught.value.exit_code == 3

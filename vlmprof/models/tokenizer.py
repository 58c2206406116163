"""A byte-level BPE tokenizer with a real model's ids, trained on the Python standard library's sources.

Every real special token has its real id and the vocabulary its real size. The merges are ours: text costs
about as many tokens as with the real tokenizer, not the same ones, and ids between the trained tokens and
the special ones are placeholders that no text encodes to.
"""

import json
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vlmprof.errors import ToolMissing
from vlmprof.models.checkpoint import Json, PreTokenizer, Vocabulary
from vlmprof.models.weights import Speakable

_TRAINED_TOKENS = 32_000
_SKIPPED_FOLDERS = {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "__pycache__"}

# Source: transformers, models/qwen2/tokenization_qwen2.py, PRETOKENIZE_REGEX.
_QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def build_tokenizer(vocabulary: Vocabulary) -> Json:
    """The contents of `tokenizer.json`.

    Raises:
        ToolMissing: the `tokenizers` package or the standard library's sources are absent.
    """
    trained = json.loads(_train(vocabulary.pre_tokenizer))
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added_token(token.id, token.text, token.special) for token in vocabulary.added],
        "normalizer": trained["normalizer"],
        "pre_tokenizer": trained["pre_tokenizer"],
        "post_processor": None,
        "decoder": trained["decoder"],
        "model": {**trained["model"], "vocab": _number(vocabulary, trained["model"]["vocab"])},
    }


def speakable_rows(tokenizer: Json, vocabulary: Vocabulary) -> Speakable:
    """Which rows of the embedding belong to trained tokens that print something on their own."""
    byte_of = _byte_of_character()
    speakable = np.zeros(vocabulary.rows, dtype=np.bool_)
    added = {token.id for token in vocabulary.added}
    placeholders = {_placeholder(index) for index in range(vocabulary.ordinary)}
    for token, index in tokenizer["model"]["vocab"].items():
        if index not in added and token not in placeholders:
            speakable[index] = _prints(bytes(byte_of[character] for character in token))
    return speakable


def _prints(text: bytes) -> bool:
    try:
        visible = text.decode().strip()
    except UnicodeDecodeError:
        return False
    return bool(visible) and visible.isprintable()


def _number(vocabulary: Vocabulary, trained: dict[str, int]) -> dict[str, int]:
    """Give trained tokens, in their order, the ordinary ids that no added token holds; fill the rest."""
    ids = {token.text: token.id for token in vocabulary.added if token.id < vocabulary.ordinary}
    free = sorted(set(range(vocabulary.ordinary)) - set(ids.values()))
    words = sorted(trained, key=trained.__getitem__)
    words += [_placeholder(index) for index in free[len(words) :]]
    ids.update(zip(words, free, strict=True))
    return dict(sorted(ids.items(), key=lambda item: item[1]))


def _placeholder(index: int) -> str:
    # U+0120 is the byte-level alphabet's letter for a space.
    return f"\u0120<unused-{index}>"


def _train(pre_tokenizer: PreTokenizer) -> str:
    """The trained tokenizer, serialized; the same for the same Python and version of `tokenizers`."""
    tokenizers = _import_tokenizers()
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    if pre_tokenizer is PreTokenizer.QWEN:
        tokenizer.normalizer = tokenizers.normalizers.NFC()
    tokenizer.pre_tokenizer = _splitter(tokenizers.pre_tokenizers, tokenizers.Regex, pre_tokenizer)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=_TRAINED_TOKENS, initial_alphabet=sorted(alphabet), show_progress=False
    )
    tokenizer.train_from_iterator(_texts(), trainer)
    return str(tokenizer.to_str())


def _splitter(pre_tokenizers: Any, regex: Any, pre_tokenizer: PreTokenizer) -> Any:
    if pre_tokenizer is PreTokenizer.SMOLLM:
        # Source: tokenizer.json of SmolLM2, on which all SmolVLM tokenizers are built.
        digits = pre_tokenizers.Digits(individual_digits=True)
        return pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    split = pre_tokenizers.Split(regex(_QWEN_SPLIT), behavior="isolated", invert=False)
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def _texts() -> Iterator[str]:
    """The standard library's modules in a fixed order, each ended by one blank line.

    The blank line makes a token of two newlines, which SmolVLM's image prompt holds and SmolLM2 has.
    """
    for path in _corpus():
        yield path.read_text(encoding="utf-8", errors="replace").rstrip() + "\n\n"


def _corpus() -> list[Path]:
    root = Path(sysconfig.get_path("stdlib"))
    paths = sorted(
        path for path in root.rglob("*.py") if not _SKIPPED_FOLDERS & set(path.relative_to(root).parts)
    )
    if not paths:
        raise ToolMissing(
            f"no Python sources under {root} to train a tokenizer on",
            hint="use a Python that is installed with its standard library's sources",
        )
    return paths


def _import_tokenizers() -> Any:
    try:
        import tokenizers
        import tokenizers.decoders
        import tokenizers.models
        import tokenizers.normalizers
        import tokenizers.pre_tokenizers
        import tokenizers.trainers
    except ImportError as error:
        raise ToolMissing(
            f"making a checkpoint needs the package tokenizers: {error}",
            hint="pip install 'vlmprof[models]'",
        ) from error
    return tokenizers


def _added_token(index: int, text: str, special: bool) -> Json:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": index, "content": text, **flags, "special": special}


def _byte_of_character() -> dict[str, int]:
    """The byte-level alphabet: printable Latin-1 stands for itself, the other bytes follow from U+0100.

    Source: GPT-2, encoder.py, bytes_to_unicode.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printable]
    letters = {chr(byte): byte for byte in printable}
    letters.update({chr(0x100 + position): byte for position, byte in enumerate(others)})
    return letters

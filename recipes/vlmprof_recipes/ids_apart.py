"""Token ids that can be put into a prompt without tokenizing it again."""

import json
from typing import Any
from weakref import WeakKeyDictionary

# By tokenizer: a server's is the same for all requests. A token that is added later is not held to be apart.
_apart: WeakKeyDictionary[Any, frozenset[int]] = WeakKeyDictionary()


def is_apart(full: list[int], apart: frozenset[int]) -> bool:
    """Whether ids may be put between any others: they begin and end with ids that are apart from text."""
    return len(full) > 0 and full[0] in apart and full[-1] in apart


def apart_from_text(tokenizer: Any) -> frozenset[int]:
    """Ids that text on either side never changes and is never changed by; none where that is not certain.

    Tokenizers in Python, such as InternLM2's, have no backend to ask: it is not certain of any id of theirs. Each
    tokenizer is looked at once.
    """
    if tokenizer not in _apart:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        _apart[tokenizer] = _special_ids(backend) if backend is not None else frozenset()
    return _apart[tokenizer]


def _special_ids(backend: Any) -> frozenset[int]:
    """Ids of special tokens, if the backend sets them apart.

    Byte-level tokenizers cut special tokens out first and tokenize what is between them piece by piece;
    others put a space in front of each piece.
    """
    steps = json.loads(backend.pre_tokenizer.__getstate__()) if backend.pre_tokenizer else {}
    steps = steps.get("pretokenizers", [steps])
    byte_level = steps[-1].get("type") == "ByteLevel" and not any(
        step.get("add_prefix_space") for step in steps
    )
    normalizer = type(backend.normalizer).__name__
    if not byte_level or normalizer not in ("NoneType", "NFC") or type(backend.model).__name__ != "BPE":
        return frozenset()
    return frozenset(
        number
        for number, token in backend.get_added_tokens_decoder().items()
        if token.special and not (token.lstrip or token.rstrip or token.single_word or token.normalized)
    )

"""Token ids that can be put into a prompt without tokenizing it again."""

import json
from typing import Any


def is_apart(full: list[int], apart: frozenset[int]) -> bool:
    """Whether ids may be put between any others: they begin and end with ids that are apart from text."""
    return len(full) > 0 and full[0] in apart and full[-1] in apart


def apart_from_text(tokenizer: Any) -> frozenset[int]:
    """Ids that text on either side never changes and is never changed by; none where that is not certain.

    Byte-level tokenizers cut special tokens out first and tokenize what is between them piece by piece;
    others put a space in front of each piece.
    """
    backend = tokenizer.backend_tokenizer
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

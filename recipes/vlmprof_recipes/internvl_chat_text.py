"""InternVLChat in the API server: the ids that an image stands for are put into the prompt as they are.

`<image>` is no token of its own: before a line break its last character is in the break's token, so that the
engine does not find it among the ids. It then decodes the prompt, puts thousands of image tokens into the
text and tokenizes the whole.
"""

import json
from typing import Any

from vllm.multimodal.processing.processor import UpdateMode, _plan_prompt_updates_with

from vlmprof.patching import PatchedCall


def splice(
    call: PatchedCall,
    processor: Any,
    token_ids: list[int],
    mm_prompt_updates: Any,
    *,
    encode_segments_separately: bool = False,
) -> Any:
    """The prompt's ids with each image's own between, where the tokenizer would find the same ones in the text."""
    tokenizer = processor.info.get_tokenizer()
    text = tokenizer.decode(token_ids)
    matched, result = _plan_prompt_updates_with(
        mm_prompt_updates,
        lambda update, start: processor._iter_text_matches(update, text, tokenizer, start_idx=start),
    )
    apart = _apart_from_text(tokenizer)
    if not apart or any(not _is_apart(each.update.content.full, apart) for each in matched):
        return call.original(
            processor, token_ids, mm_prompt_updates, encode_segments_separately=encode_segments_separately
        )
    spliced: list[int] = []
    position = 0
    for each in matched:
        inserted = each.update.mode == UpdateMode.INSERT
        end = each.match.end_idx if inserted else each.match.start_idx
        spliced += tokenizer.encode(text[position:end], add_special_tokens=False)
        spliced += each.update.content.full
        position = each.match.end_idx
    spliced += tokenizer.encode(text[position:], add_special_tokens=False)
    return spliced, result


def _is_apart(full: list[int], apart: frozenset[int]) -> bool:
    return len(full) > 0 and full[0] in apart and full[-1] in apart


def _apart_from_text(tokenizer: Any) -> frozenset[int]:
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

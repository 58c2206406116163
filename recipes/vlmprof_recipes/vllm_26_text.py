"""InternVLChat in the API server of vLLM 0.26: as `internvl_chat_text`, in the function that does all of it."""

from typing import Any

from vllm.multimodal.processing.processor import _apply_matches, _seq2tokens

from vlmprof.patching import PatchedCall
from vlmprof_recipes.ids_apart import apart_from_text, is_apart

NOT_APART = "a tokenizer that may join an image's ids with the text"
"""Why the recipe gives way."""


def splice(call: PatchedCall, processor: Any, token_ids: list[int], mm_prompt_updates: Any) -> Any:
    """Ids and placeholders of a prompt whose text has each image's ids between its own, where that is the same."""
    tokenizer = processor.info.get_tokenizer()
    _, found = processor._apply_token_matches(token_ids, mm_prompt_updates)
    apart = apart_from_text(tokenizer)
    if _are_all_found(found) or not apart:
        reason = NOT_APART if not apart else "prompts whose images the engine finds among the ids"
        return call.give_way(reason, processor, token_ids, mm_prompt_updates)
    pieces, applied = _apply_matches(tokenizer.decode(token_ids), mm_prompt_updates, tokenizer)
    # Every second piece is an image's: the engine's cache has its ids, which placeholders are found by too.
    ids = [
        _seq2tokens(tokenizer, piece, use_cache=bool(place % 2)) if piece else []
        for place, piece in enumerate(pieces)
    ]
    if not _are_all_found(applied) or any(not is_apart(image, apart) for image in ids[1::2]):
        return call.give_way(NOT_APART, processor, token_ids, mm_prompt_updates)
    spliced = [token for piece in ids for token in piece]
    return spliced, processor._find_mm_placeholders(spliced, _applied_updates(mm_prompt_updates, applied))


def _are_all_found(result: Any) -> bool:
    return all(update is not None for updates in result.values() for update in updates)


def _applied_updates(mm_prompt_updates: Any, applied: Any) -> dict[str, list[Any]]:
    """Of the ways in which each item may be put into a prompt, the one that was taken."""
    return {
        modality: [[mm_prompt_updates[modality][item][update]] for item, update in enumerate(updates)]
        for modality, updates in applied.items()
    }

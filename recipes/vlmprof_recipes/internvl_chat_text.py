"""InternVLChat in the API server: the ids that an image stands for are put into the prompt as they are.

`<image>` is no token of its own: before a line break its last character is in the break's token, so that the
engine does not find it among the ids. It then decodes the prompt, puts thousands of image tokens into the
text and tokenizes the whole.
"""

from typing import Any

from vllm.multimodal.processing.processor import UpdateMode, _plan_prompt_updates_with

from vlmprof.patching import PatchedCall
from vlmprof_recipes.ids_apart import apart_from_text, is_apart

NOT_APART = "a tokenizer that may join an image's ids with the text"
"""Why the recipe gives way."""


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
    apart = apart_from_text(tokenizer)
    if not apart or any(not is_apart(each.update.content.full, apart) for each in matched):
        return call.give_way(
            NOT_APART,
            processor,
            token_ids,
            mm_prompt_updates,
            encode_segments_separately=encode_segments_separately,
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

"""The tokens that Qwen2.5 and its descendants share.

Sources:
    transformers, models/qwen2/tokenization_qwen2.py for the way of splitting; tokenizer_config.json of
    Qwen2.5, Qwen3 and InternVL3, as quoted in public issues, for ids and the `special` flags.
"""

from vlmprof.models.checkpoint import AddedToken, PreTokenizer, Vocabulary

ORDINARY_TOKENS = 151_643

END_OF_TEXT = "<|endoftext|>"
END_OF_TURN = "<|im_end|>"

_SHARED = (
    END_OF_TEXT,
    "<|im_start|>",
    END_OF_TURN,
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
_VISIBLE = (
    "<tool_call>",
    "</tool_call>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
)


def qwen_vocabulary(rows: int, *, special: tuple[str, ...] = (), visible: tuple[str, ...] = ()) -> Vocabulary:
    """The vocabulary of a descendant: ids 151643 to 151664 are Qwen2.5's, its own tokens follow.

    Args:
        special: the descendant's tokens that decoded text leaves out.
        visible: its tokens that decoded text shows; after the special ones.
    """
    flags = [*[(text, True) for text in _SHARED], *[(text, False) for text in _VISIBLE]]
    flags += [*[(text, True) for text in special], *[(text, False) for text in visible]]
    added = (AddedToken(ORDINARY_TOKENS + index, *flag) for index, flag in enumerate(flags))
    return Vocabulary(PreTokenizer.QWEN, ORDINARY_TOKENS, rows, tuple(added))

"""What is asked about an image."""

DEFAULT_PROMPT = "Provide a one-sentence caption for the provided image."
"""COCO captioning, as evaluation suites ask it."""


def numbered_prompt(prompt: str, number: int) -> str:
    """A prompt that no other request of the run has: `"[00007] Provide a ..."`.

    A prefix cache answers for the leading tokens that two requests share. The number comes first and the
    images differ as well, so only what the chat template puts before both of them can match, which is less
    than one cache block for a template without a long system prompt. Five digits keep the prompts of a run
    equally long.
    """
    return f"[{number:05d}] {prompt}"

"""A prompt as the message that a chat with Qwen3 begins with: its own template for a user's message
that is to be answered."""

from __future__ import annotations

from typing import Final

_BEFORE: Final = "<|im_start|>user\n"
_BEHIND: Final = "<|im_end|>\n<|im_start|>assistant\n"
_THOUGHT: Final = "<think>\n\n</think>\n\n"
_END: Final = "<|im_end|>"


def message(prompt: str, *, thinking: bool) -> str:
    """What Qwen3 is told: the answer begins after `thinking`, or at once."""
    return f"{_BEFORE}{prompt}{_BEHIND}{'' if thinking else _THOUGHT}"


def cut_of(rest: str) -> tuple[str, ...]:
    """The prompt's part of what a message was cut by."""
    cut = rest.partition(_END)[0].strip()
    return (cut,) if cut else ()

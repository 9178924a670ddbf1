"""Runs before the first one that counts, so that none of its work is left to that one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from PIL import Image

from overpaint.bundle.errors import UsageError

if TYPE_CHECKING:
    from .pipeline import Img2Img

# A GPU's session runs shapes as they are, then captures them, then replays (docs/cuda.md). Other
# words each time: an encoder runs for words that it has not seen.
_PROMPTS: Final = ("a picture", "another picture", "one more picture")


def warm_up(pipe: Img2Img, *sizes: tuple[int, int], guidance_scale: float | None = None) -> None:
    """Paint pictures of `sizes`, (width, height), that nobody sees.

    On a GPU, what a size's first runs have to do alone is choosing algorithms and capturing CUDA
    graphs. On a processor it is next to nothing (docs/cuda.md has the figure).

    guidance_scale: as later runs will have it, for guidance doubles a denoiser's batch; None: the
    bundle's own.

    Raises UsageError for sizes that the bundle cannot paint, or if `pipe` closes its engines after
    use; SessionError.
    """
    if pipe.engines.components.low_memory:
        raise UsageError("warm_up: this pipeline has low_memory, so every run opens its engines")
    for size in sizes:
        grey = Image.new("RGB", size, "grey")
        for prompt in _PROMPTS:
            pipe(
                grey,
                prompt,
                negative_prompt=prompt[::-1],
                size=size,
                steps=2,
                steps_mode="exact",
                guidance_scale=guidance_scale,
                seed=0,
            )

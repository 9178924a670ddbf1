"""The names of a Z-Image transformer's tensors in single files, from those in diffusers' folders.

The original code (Tongyi-MAI/Z-Image, after Lumina 2's) fuses query, key and value in the files
that are published for ComfyUI, and has one size of patches, which it does not name.
"""

from __future__ import annotations

import re
from typing import Final

from overpaint.bundle.checkpoint.source import Source, third, whole

_PATCHES: Final = "2-1"
_OUTSIDE: Final = {
    f"all_x_embedder.{_PATCHES}.": "x_embedder.",
    f"all_final_layer.{_PATCHES}.": "final_layer.",
}
_ATTENTION: Final = {"to_out.0": "out", "norm_q": "q_norm", "norm_k": "k_norm"}
_MODULE: Final = re.compile(r"(.+\.attention)\.(to_out\.0|norm_q|norm_k|to_([qkv]))\.weight")


def z_image_source(name: str) -> Source:
    """Where the tensor called `name` in diffusers lies in a single file."""
    for ours, theirs in _OUTSIDE.items():
        if name.startswith(ours):
            return whole(theirs + name.removeprefix(ours))
    module = _MODULE.fullmatch(name)
    if module is None:
        return whole(name)
    if module[3]:
        return third(f"{module[1]}.qkv.weight", "qkv".index(module[3]))
    return whole(f"{module[1]}.{_ATTENTION[module[2]]}.weight")

"""The packaged control networks, made: `python -m overpaint.export.control.library`.

They are kept beside the architectures of pipelines, which need not be traced anew for them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from overpaint.bundle.control.facts import facts_of
from overpaint.bundle.control.library import PACKAGED
from overpaint.bundle.importing import library as packaged
from overpaint.export.architectures import SD_LEVELS, Config
from overpaint.export.library import TRACING, Shelf, exporter_hash, full_config, write_library

from . import networks
from .networks import MMDIT, UNET, UNION, parts_of


@dataclass(frozen=True, slots=True)
class Network:
    """A control network without weights. `like`: the name that people know a release by."""

    like: str
    class_name: str
    config: Config


_HINT: Final[Config] = {"conditioning_embedding_out_channels": [16, 32, 96, 256]}
_SD: Final[Config] = {
    **_HINT,
    "block_out_channels": SD_LEVELS["block_out_channels"],
    "down_block_types": SD_LEVELS["down_block_types"],
}
_XL: Final[Config] = {
    **_HINT,
    "block_out_channels": [320, 640, 1280],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "transformer_layers_per_block": [1, 2, 10],
    "attention_head_dim": [5, 10, 20],
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
KNOWN: Final = {
    "sd1.5": Network(
        "ControlNet 1.1 for Stable Diffusion 1.5", UNET, {**_SD, "cross_attention_dim": 768}
    ),
    "sd2.1": Network(
        "ControlNet for Stable Diffusion 2.1",
        UNET,
        {
            **_SD,
            "cross_attention_dim": 1024,
            "attention_head_dim": [5, 10, 20, 20],
            "use_linear_projection": True,
        },
    ),
    "sdxl-base": Network("ControlNet for SDXL", UNET, _XL),
    "sdxl-union": Network("ControlNet union for SDXL", UNION, {**_XL, "num_control_type": 6}),
    "sdxl-union-promax": Network(
        "ControlNet union ProMax for SDXL", UNION, {**_XL, "num_control_type": 8}
    ),
    "sd3-medium": Network(
        "ControlNet for Stable Diffusion 3 Medium",
        MMDIT,
        {
            "num_layers": 6,
            "num_attention_heads": 24,
            "caption_projection_dim": 1536,
            "pos_embed_max_size": 192,
        },
    ),
}
CONTROL_TRACING: Final[tuple[ModuleType, ...]] = (*TRACING, networks)
"""The modules that make a control network's graphs of a config."""


def make_library(
    known: Mapping[str, Network],
    folder: Path,
    dtypes: tuple[str, ...] = ("float32", "float16"),
    say: Callable[[str], object] = lambda text: None,
) -> None:
    """Write a library of `known` into `folder`, which is replaced; graphs that are there, traced by
    this very code from the same configs, are kept."""

    def entries_of(shelf: Shelf) -> dict[str, packaged.Architecture]:
        return {name: _entry(name, network, shelf, dtypes) for name, network in known.items()}

    write_library(folder, entries_of, exporter_hash(CONTROL_TRACING), say)


def _entry(
    name: str, network: Network, shelf: Shelf, dtypes: tuple[str, ...]
) -> packaged.Architecture:
    config: dict[str, Any] = full_config("diffusers", network.class_name, network.config)
    graphs: dict[str, dict[str, str]] = {}
    for dtype in dtypes:
        graphs[dtype] = {}
        for part in parts_of(config, "float16" if dtype == "float16" else "float32"):
            title = f"{name}-{part.component}-{part.compute}"
            graphs[dtype][part.component] = shelf.store(title, part)
    return packaged.Architecture(
        like=network.like,
        family=facts_of(config, network.like)["family"],
        index={},
        scheduler={},
        configs={"controlnet": config},
        pads={},
        graphs=graphs,
    )


def main() -> None:
    """Make the packaged library of control networks anew."""
    make_library(KNOWN, PACKAGED, say=lambda text: sys.stderr.write(f"{text}\n"))


if __name__ == "__main__":
    main()

"""Whether a run fits into memory, estimated before it begins.

Weights take what the engine holds of them for itself: mapped files are shared, and the system takes
them back when it wants. What a network holds while it computes, in float32, grows with the points
that it computes on and with its width, and its width with the square root of its number of weights:

    bytes = BASE + Σ weights' bytes                     of all components
          + VAE x pixels x (√encoder's + √decoder's)    one picture at a time
          + DENOISER x points x √denoiser's             latent points of a whole batch
          + 4 x heads x points² of its largest attention, likewise of a whole batch

The two factors are fitted to the embedded model; docs/running.md compares estimates with what was
measured. OpenVINO never holds a whole attention, so that its last line is 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod, sqrt
from typing import Annotated, Final

import msgspec

from overpaint.bundle import layout
from overpaint.bundle.errors import BundleError, UsageError
from overpaint.bundle.files.json import read_json
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.manifest import Manifest
from overpaint.bundle.graph import count
from overpaint.engines.backends import BACKENDS
from overpaint.engines.host.memory import memory_limit

from .engines import Engines
from .prepare import Job
from .tiles.vae import IN_MEMORY, largest_window

BASE: Final = 130e6
"""Python, the libraries and an engine runtime."""
VAE: Final = 0.7
DENOISER: Final = 1.2
HELD: Final = 48
"""Bytes for each pixel of a picture in tiles: what is read, and what is made of it."""


def check_memory(stages: Sequence[tuple[Engines, Job]]) -> None:
    """Raise UsageError, with figures, if these jobs cannot fit into this machine or container.

    Engines on a GPU, and sessions of which nobody said what runs them, are not judged.
    """
    limit = memory_limit()
    if limit is None:
        return
    needed = BASE
    for engines, job in stages:
        decision = engines.decision
        held = BACKENDS[decision.chosen.device].held if decision else None
        if decision is None or held is None:
            return
        manifest = engines.bundle.manifest
        points = (prod(job.seen) + _looked_at(manifest, job)) // manifest.latents.downscale**2
        batch = job.batch * (2 if job.guided else 1)
        scores = attention(engines.bundle, points) if decision.chosen.device == "cpu" else 0
        run = engines.seeing if job.references and engines.seeing else engines.bundle
        needed += estimate(
            weights(run),
            {name: held(run, name, decision.asked) for name in run.manifest.components},
            denoiser=manifest.denoiser,
            size=job.size if job.tile is None else largest_window(manifest.latents.downscale),
            points=points * batch,
            scores=scores * batch,
            encodes=job.pixels is not None,
            low_memory=engines.components.low_memory,
        )
        if job.tile is not None:
            needed += HELD * prod(job.size) + 3 * IN_MEMORY
    if needed > limit:
        job = stages[0][1]
        raise UsageError(
            f"size: {_pictures(job.batch)} {job.size[0]}x{job.size[1]} would take about "
            f"{needed / 1e9:.1f} GB of memory, and there are {limit / 1e9:.1f} GB here; ask for a "
            "smaller size, fewer pictures at a time, or low_memory"
        )


def _looked_at(manifest: Manifest, job: Job) -> int:
    """Pixels of the pictures that a denoiser has beside those that it paints."""
    own = prod(job.seen) if manifest.looks_at_pictures and job.pixels is not None else 0
    return own + sum(prod(one.shape[2:]) for one in job.beside.pixels)


def estimate(
    weights: Mapping[str, int],
    held: Mapping[str, int],
    *,
    denoiser: str,
    size: tuple[int, int],
    points: int,
    scores: int = 0,
    encodes: bool = True,
    low_memory: bool = False,
) -> float:
    """Bytes that a run takes beyond `BASE`, roughly.

    weights: how many each component has. held: bytes that they take of the process's own. denoiser:
    which of them is one. size: (width, height). points: latent points that the denoiser computes
    on in one call. scores: what its largest attention has then, which are 4 bytes each. encodes:
    whether there is a picture to encode. low_memory: one component is open at a time, so that the
    largest counts.
    """
    computed: dict[str, float] = dict(held)
    pixels = size[0] * size[1]
    computed[layout.VAE_DECODER] += VAE * pixels * sqrt(weights[layout.VAE_DECODER])
    if encodes:
        computed[layout.VAE_ENCODER] += VAE * pixels * sqrt(weights[layout.VAE_ENCODER])
    computed[denoiser] += DENOISER * points * sqrt(weights[denoiser]) + 4 * scores
    return max(computed.values()) if low_memory else sum(computed.values())


def weights(bundle: Bundle) -> dict[str, int]:
    """How many weights each component of `bundle` has."""
    components = bundle.manifest.components
    return {name: count.weights(bundle.folder / one.graph) for name, one in components.items()}


class _Attention(msgspec.Struct, frozen=True):
    """What a denoiser's config.json says of its attention. diffusers calls a UNet's heads
    `attention_head_dim`, for compatibility with its own past."""

    down_block_types: tuple[str, ...] = ()
    num_attention_heads: int | tuple[int, ...] | None = None
    attention_head_dim: int | tuple[int, ...] | None = None
    patch_size: Annotated[int, msgspec.Meta(ge=1)] = 1


def attention(bundle: Bundle, points: int) -> int:
    """How many scores the denoiser's largest attention has for one picture of so many latent
    points: heads x points², at a quarter of the points on each lower level of a UNet, and of
    patches in an MMDiT. 0 where its config is absent."""
    path = bundle.folder / bundle.manifest.denoiser / layout.CONFIG
    if not path.is_file():
        return 0
    try:
        config = msgspec.convert(read_json(path), _Attention)
    except msgspec.ValidationError as error:
        raise BundleError(f"{path}: {error}") from None
    heads = config.num_attention_heads or config.attention_head_dim or 1
    if not config.down_block_types:
        patches = points // config.patch_size**2
        return (heads if isinstance(heads, int) else max(heads)) * patches**2
    levels = len(config.down_block_types)
    each = [heads] * levels if isinstance(heads, int) else heads
    return max(
        (
            number * (points // 4**level) ** 2
            for level, (kind, number) in enumerate(zip(config.down_block_types, each, strict=False))
            if "Attn" in kind
        ),
        default=0,
    )


def _pictures(n: int) -> str:
    return "a picture of" if n == 1 else f"{n} pictures at a time of"

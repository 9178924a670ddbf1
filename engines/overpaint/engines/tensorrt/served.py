"""Which feeds a plan serves; of others it is told what they need, in pictures' sizes."""

from __future__ import annotations

from collections.abc import Sequence

from .shapes import LATENTS, SEQUENCES, PictureRange, PictureShape, Profile, Shapes


def pieces(batch: int, served: Sequence[int]) -> list[slice]:
    """Cut a batch into batches that are served, the largest first; empty where that cannot be.

    4 pictures with guidance are a batch of 8; a plan for 1 and 2 runs it as 2 + 2 + 2 + 2.
    """
    cuts, start = [], 0
    for size in sorted(served, reverse=True):
        while batch - start >= size:
            cuts.append(slice(start, start + size))
            start += size
    return cuts if start == batch else []


def unserved(
    name: str,
    got: Shapes,
    built: Sequence[Profile],
    shapes: Sequence[str],
    cell: int,
    build: str,
) -> str:
    """Say that no profile is for `got`, what there is, and what to do.

    Args:
        built: the profiles of the component's plan.
        shapes: what the bundle's plans were built for, as --shape or --sizes had it.
        cell: how many pixels the sides of this component's picture-like input stand for.
        build: the command that builds plans, without --shape.
    """
    served = [_served(shape) for shape in shapes]
    sizes = ", ".join(dict.fromkeys(one.size for one in served))
    asked = _picture(got, cell)
    if asked is not None and not any(one.takes(asked) for one in served):
        near = min((one.nearest(asked) for one in served), key=lambda near: _distance(near, asked))
        return (
            f"{name}: its TensorRT plan is for pictures of {sizes}, not {asked.size}. "
            f"Ask for --size {near.size}, or build {asked.size} too: {build} --force "
            f"{_wanted(served, asked)}; or take --device cuda or cpu"
        )
    differ = ", ".join(
        f"{tensor} {shape} instead of {' or '.join(dict.fromkeys(str(p[tensor]) for p in built))}"
        for tensor, shape in got.items()
        if not any(profile[tensor].takes(shape) for profile in built)
    )
    text = any(got[one][1:] != built[0][one].usual[1:] for one in SEQUENCES if one in got)
    why = " A plan is for one length of text: prompt chunks need --device cuda or cpu." * text
    return f"{name}: its TensorRT plan is not for {differ or got}.{why}"


def _served(shape: str) -> PictureRange:
    """What --shape or --sizes asked for; an exact shape is the smallest range."""
    if ":" in shape:
        return PictureRange.parse(shape)
    exact = PictureShape.parse(shape)
    return PictureRange(exact, exact, exact)


def _wanted(served: Sequence[PictureRange], asked: PictureShape) -> str:
    """The options that would have served `asked` too."""
    if all(one.smallest == one.largest for one in served):
        return " ".join(f"--shape {shape}" for shape in (*(one.usual for one in served), asked))
    return f"--sizes {served[0].widened(asked)}"


def _distance(one: PictureShape, other: PictureShape) -> int:
    return abs(one.height - other.height) + abs(one.width - other.width)


def _picture(got: Shapes, cell: int) -> PictureShape | None:
    for name in LATENTS:
        if name in got and len(got[name]) == 4:
            return PictureShape(1, got[name][2] * cell, got[name][3] * cell)
    return None

"""Which feeds a plan serves; of others it is told what they need, in pictures' sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .shapes import LATENTS, SEQUENCES, PictureShape, Profile


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
    got: Profile,
    built: Sequence[Profile],
    shapes: Sequence[str],
    cell: int,
    build: str,
) -> str:
    """Say that no profile is for `got`, what there is, and what to do.

    Args:
        built: the profiles of the component's plan.
        shapes: the picture shapes that the bundle's plans were built for.
        cell: how many pixels the sides of this component's picture-like input stand for.
        build: the command that builds plans, without --shape.
    """
    pictures = [PictureShape.parse(shape) for shape in shapes]
    sizes = ", ".join(dict.fromkeys(picture.size for picture in pictures))
    asked = _picture(got, cell)
    if asked is not None and asked.size not in [picture.size for picture in pictures]:
        near = _nearest(asked, pictures)
        every = " ".join(f"--shape {shape}" for shape in (*map(str, pictures), str(asked)))
        return (
            f"{name}: its TensorRT plan is for pictures of {sizes}, not {asked.size}. "
            f"Ask for --size {near.size}, or build {asked.size} too: {build} --force {every}; "
            "or take --device cuda or cpu"
        )
    differ = ", ".join(
        f"{tensor} {shape} instead of {' or '.join(dict.fromkeys(str(p[tensor]) for p in built))}"
        for tensor, shape in got.items()
        if all(profile[tensor] != shape for profile in built)
    )
    text = any(got[tensor][1:] != built[0][tensor][1:] for tensor in SEQUENCES if tensor in got)
    why = " A plan is for one length of text: prompt chunks need --device cuda or cpu." * text
    return f"{name}: its TensorRT plan is not for {differ or got}.{why}"


def _nearest(asked: PictureShape, pictures: Sequence[PictureShape]) -> PictureShape:
    def distance(one: PictureShape) -> int:
        return abs(one.height - asked.height) + abs(one.width - asked.width)

    return min(pictures, key=distance)


def _picture(got: Mapping[str, tuple[int, ...]], cell: int) -> PictureShape | None:
    for name in LATENTS:
        if name in got and len(got[name]) == 4:
            return PictureShape(1, got[name][2] * cell, got[name][3] * cell)
    return None

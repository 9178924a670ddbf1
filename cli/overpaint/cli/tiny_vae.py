"""Tiny autoencoders are used as they were published: nothing is made of them beforehand."""

from __future__ import annotations

from pathlib import Path

from overpaint.bundle.errors import UsageError


def refuse_tiny_vae(source: str) -> None:
    """Raise UsageError where an import or an export is asked for of a tiny autoencoder."""
    from overpaint.bundle.tiny_vae.file import holds_tiny_vae

    if holds_tiny_vae(Path(source)):
        raise UsageError(
            f"{source}: is a tiny autoencoder, which is used as it is, beside any bundle: "
            f"overpaint run photo.jpg PROMPT --tiny-vae {source} --vae tiny -o out.png"
        )

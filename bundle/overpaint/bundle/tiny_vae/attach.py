"""A bundle with a tiny autoencoder beside its own VAE, in the user's cache.

    folder = with_tiny_vae(bundle, Path("taesd"))

Its graphs are written here and its weights linked, so that a file or a folder is used as it was
published: there is nothing to export or to import before.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from overpaint.bundle import layout
from overpaint.bundle.checkpoint.bind import bind_into
from overpaint.bundle.checkpoint.match import resolve
from overpaint.bundle.checkpoint.tensors import folder_tensors
from overpaint.bundle.errors import CheckpointError, UsageError
from overpaint.bundle.extended import extended
from overpaint.bundle.files.hashing import Progress, sha256_file
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.manifest import Component, Manifest
from overpaint.bundle.graph.weights import slots

from .file import TinyVae, read_tiny_vae
from .graphs import decoder, encoder

_REVISION: Final = "1"  # raise it when the same files would make other graphs


def with_tiny_vae(bundle: Bundle, source: Path, progress: Progress | None = None) -> Path:
    """The folder of `bundle` with the tiny autoencoder in `source`, a diffusers folder or a
    `.safetensors` file: components of the dtype that its own VAE computes in.

    Raises:
        CheckpointError: `source` is no tiny autoencoder.
        UsageError: it is for other latents.
    """
    vae = read_tiny_vae(source)
    _check_fits(bundle.manifest, vae)
    key = [_REVISION, *(sha256_file(file) for file in vae.files)]

    def edit(folder: Path, manifest: Manifest) -> Manifest:
        components = manifest.components | _bound(folder, manifest, vae)
        return msgspec.structs.replace(manifest, components=components)

    return extended(bundle, "tiny-vae", key, edit, progress)


def has_tiny_vae(manifest: Manifest) -> bool:
    """Whether a bundle has one."""
    return layout.TINY_VAE_DECODER in manifest.components


def _check_fits(manifest: Manifest, vae: TinyVae) -> None:
    theirs = manifest.latents
    if (vae.latents, vae.downscale) != (theirs.channels, theirs.downscale):
        raise UsageError(
            f"tiny_vae: {vae.name} has latents of {vae.latents} channels at 1/{vae.downscale} of "
            f"the picture's sides, and {manifest.name} of {theirs.channels} at "
            f"1/{theirs.downscale}; take the one of its family (TAESD for SD 1 and 2, TAESDXL, "
            "TAESD3)"
        )


def _bound(folder: Path, manifest: Manifest, vae: TinyVae) -> dict[str, Component]:
    compute = manifest.components[layout.VAE_DECODER].compute_dtype
    already: dict[Path, Path] = {}
    components = {}
    for name, write in ((layout.TINY_VAE_ENCODER, encoder), (layout.TINY_VAE_DECODER, decoder)):
        template, component = write(vae, manifest.latents, compute)
        wanted = slots(template)
        resolved = resolve(wanted, folder_tensors(vae.tensors))
        for wrong in (*resolved.mismatched, *resolved.missing):
            raise CheckpointError(f"{vae.name}: {wrong}: not as a tiny autoencoder has it")
        (folder / name).mkdir()
        bind_into(folder / name, template, wanted, resolved.found, "auto", already)
        components[name] = component
    return components

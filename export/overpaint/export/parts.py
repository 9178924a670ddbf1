"""The components of a checkpoint as graphs to be."""

from __future__ import annotations

from overpaint.bundle import layout
from overpaint.bundle.checkpoint.folder import Checkpoint, component_configs
from overpaint.bundle.families import family_of
from overpaint.bundle.tensor import DType

from .families import EXPORTS
from .networks.autoencoder import vae_parts
from .networks.text import text_part
from .part import Part


def parts_of(checkpoint: Checkpoint, compute: DType) -> list[Part]:
    """Every graph of the checkpoint's bundle, in the order in which a run uses them.

    Raises:
        CheckpointError: its family is unknown.
    """
    configs = component_configs(checkpoint)
    vae = configs["vae"]
    # A VAE whose activations overflow half precision is marked (XL's is, and overflows on encode
    # as well). FLUX.2's has no such mark: its authors compute in bfloat16, which has the range.
    marked = vae.get("force_upcast", "batch_norm_eps" in vae)
    vae_compute: DType = "float32" if marked else compute
    encoder, decoder = vae_parts(checkpoint.class_name("vae"), vae, vae_compute)
    return [
        *(
            text_part(name, checkpoint.class_name(name), configs[name], compute)
            for name in layout.TEXT_ENCODERS
            if name in configs
        ),
        encoder,
        EXPORTS[family_of(configs, checkpoint.name).name].denoiser(configs, compute),
        decoder,
    ]

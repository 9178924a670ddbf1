"""The components of a pipeline as things to trace: a class, a config, tensors with ranges.

Tensor names are those of optimum's exporter, so that its pipelines open our bundles.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import diffusers
import torch
import transformers

from overpaint.bundle import layout
from overpaint.bundle.checkpoint.folder import Checkpoint
from overpaint.bundle.errors import CheckpointError
from overpaint.bundle.tensor import DType, Range, Tensor

from . import modules

BATCH: Final = Range(minimum=1, maximum=32)
LATENT_SIDE: Final = 512
CONTEXT: Final = Range(minimum=1, maximum=4096)

Config = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One graph to be: `component` of the bundle, from `source` of the checkpoint.

    `class_name` is diffusers' or transformers' class of the network, `config` its configuration.
    """

    component: str
    source: str
    class_name: str
    config: Config
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    ranges: dict[str, Range]
    compute: DType

    @property
    def dtype(self) -> torch.dtype:
        """What the graph computes in."""
        return getattr(torch, self.compute)  # type: ignore[no-any-return]

    def make(self) -> Any:
        """The network without trained weights, on the device that torch is told to use."""
        network = _network(self.class_name)
        if hasattr(network, "from_config"):
            return network.from_config(self.config)
        return network(network.config_class.from_dict(self.config))

    def load(self, folder: Path, variant: str | None) -> Any:
        """The network with the weights in `folder`, in float32."""
        return _network(self.class_name).from_pretrained(
            folder, torch_dtype=torch.float32, variant=variant, use_safetensors=True
        )

    def module(self, net: Any) -> modules.Wrapper:
        """`net` as a function of this part's inputs."""
        names = tuple(tensor.name for tensor in self.inputs)
        kind = self.component if self.source == "vae" else self.class_name
        return modules.WRAPPERS[kind](net, names).eval()


def parts_of(checkpoint: Checkpoint, compute: DType) -> list[Part]:
    """Every graph of the checkpoint's bundle, in the order in which a run uses them."""
    encoders = [name for name in layout.TEXT_ENCODERS if checkpoint.has(name)]
    vae = checkpoint.config("vae")
    # A VAE whose activations overflow half precision says so (SDXL's does, on encode as well).
    vae_compute: DType = "float32" if vae.get("force_upcast", False) else compute
    if checkpoint.has("transformer"):
        denoiser = transformer_part(checkpoint.config("transformer"), compute)
    else:
        denoiser = unet_part(checkpoint.config("unet"), compute, pooled_width(checkpoint))
    return [
        *(
            text_part(name, checkpoint.class_name(name), checkpoint.config(name), compute)
            for name in encoders
        ),
        vae_encoder_part(vae, vae_compute),
        denoiser,
        vae_decoder_part(vae, vae_compute),
    ]


def pooled_width(checkpoint: Checkpoint) -> int | None:
    """How wide the pooled text of SDXL's second encoder is; None before SDXL."""
    if not checkpoint.has("text_encoder_2"):
        return None
    return int(checkpoint.config("text_encoder_2")["projection_dim"])


def unet_part(config: Config, compute: DType, pooled: int | None = None) -> Part:
    """UNet2DConditionModel of Stable Diffusion 1, 2 and XL; `pooled` as `pooled_width` has it."""
    channels, width = config["in_channels"], config["cross_attention_dim"]
    inputs = [
        _float("sample", "batch", channels, "latent_height", "latent_width"),
        _float("timestep"),
        _float("encoder_hidden_states", "batch", "tokens", width),
    ]
    if pooled is not None:
        inputs += [
            _float("text_embeds", "batch", pooled),
            _float("time_ids", "batch", time_id_count(config, pooled)),
        ]
    if config.get("time_cond_proj_dim"):
        inputs.append(_float("timestep_cond", "batch", config["time_cond_proj_dim"]))
    out = _float("out_sample", "batch", config["out_channels"], "latent_height", "latent_width")
    return Part(
        component="unet",
        source="unet",
        class_name="UNet2DConditionModel",
        config=config,
        inputs=tuple(inputs),
        outputs=(out,),
        ranges={"batch": BATCH, "tokens": CONTEXT, **_latent_ranges(LATENT_SIDE)},
        compute=compute,
    )


def transformer_part(config: Config, compute: DType) -> Part:
    """SD3Transformer2DModel of Stable Diffusion 3 and 3.5."""
    patch, channels = config["patch_size"], config["in_channels"]
    side = min(LATENT_SIDE, config["pos_embed_max_size"] * patch)
    latents = ("batch", channels, "latent_height", "latent_width")
    return Part(
        component="transformer",
        source="transformer",
        class_name="SD3Transformer2DModel",
        config=config,
        inputs=(
            _float("hidden_states", *latents),
            _float("encoder_hidden_states", "batch", "tokens", config["joint_attention_dim"]),
            _float("pooled_projections", "batch", config["pooled_projection_dim"]),
            _float("timestep", "batch"),
        ),
        outputs=(_float("out_hidden_states", "batch", config["out_channels"], *latents[2:]),),
        ranges={"batch": BATCH, "tokens": CONTEXT, **_latent_ranges(side, patch)},
        compute=compute,
    )


def vae_encoder_part(config: Config, compute: DType) -> Part:
    """AutoencoderKL: pixels -> moments."""
    downscale = vae_downscale(config)
    pixels = Range(minimum=downscale, maximum=LATENT_SIDE * downscale, multiple=downscale)
    moments = ("batch", 2 * config["latent_channels"], "latent_height", "latent_width")
    return Part(
        component=layout.VAE_ENCODER,
        source="vae",
        class_name="AutoencoderKL",
        config=config,
        inputs=(_float("sample", "batch", config["in_channels"], "height", "width"),),
        outputs=(_float("latent_parameters", *moments),),
        ranges={"batch": BATCH, "height": pixels, "width": pixels, **_latent_ranges(LATENT_SIDE)},
        compute=compute,
    )


def vae_decoder_part(config: Config, compute: DType) -> Part:
    """AutoencoderKL: latents -> pixels."""
    downscale = vae_downscale(config)
    pixels = Range(minimum=downscale, maximum=LATENT_SIDE * downscale, multiple=downscale)
    latents = ("batch", config["latent_channels"], "latent_height", "latent_width")
    return Part(
        component=layout.VAE_DECODER,
        source="vae",
        class_name="AutoencoderKL",
        config=config,
        inputs=(_float("latent_sample", *latents),),
        outputs=(_float("sample", "batch", config["out_channels"], "height", "width"),),
        ranges={"batch": BATCH, **_latent_ranges(LATENT_SIDE), "height": pixels, "width": pixels},
        compute=compute,
    )


def text_part(component: str, class_name: str, config: Config, compute: DType) -> Part:
    """A text encoder, by the class that it was saved from."""
    builders = {
        "CLIPTextModel": _clip_part,
        "CLIPTextModelWithProjection": _clip_part,
        "T5EncoderModel": _t5_part,
    }
    if class_name not in builders:
        raise CheckpointError(
            f"{component}: expected {', '.join(builders)}, got {class_name}; its family is unknown"
        )
    return builders[class_name](component, class_name, config, compute)


def time_id_count(config: Config, pooled: int) -> int:
    """How many time ids an SDXL UNet takes: a base model 6, a refiner 5."""
    total, each = config["projection_class_embeddings_input_dim"], config["addition_time_embed_dim"]
    return int(total - pooled) // int(each)


def vae_downscale(config: Config) -> int:
    """Pixels a latent cell is wide."""
    return int(2 ** (len(config["block_out_channels"]) - 1))


def _clip_part(component: str, class_name: str, config: Config, compute: DType) -> Part:
    width, layers = config["hidden_size"], config["num_hidden_layers"]
    projected = class_name == "CLIPTextModelWithProjection"
    last = _float("last_hidden_state", "batch", "tokens", width)
    hidden = [_float(f"hidden_states.{k}", "batch", "tokens", width) for k in range(layers + 1)]
    outputs = (
        (_float("text_embeds", "batch", config["projection_dim"]), last, *hidden)
        if projected
        else (last, _float("pooler_output", "batch", width), *hidden)
    )
    return Part(
        component=component,
        source=component,
        class_name=class_name,
        config=config,
        inputs=(Tensor(name="input_ids", dtype="int64", shape=("batch", "tokens")),),
        outputs=outputs,
        ranges={
            "batch": BATCH,
            "tokens": Range(minimum=1, maximum=config["max_position_embeddings"]),
        },
        compute=compute,
    )


def _t5_part(component: str, class_name: str, config: Config, compute: DType) -> Part:
    return Part(
        component=component,
        source=component,
        class_name=class_name,
        config=config,
        inputs=(Tensor(name="input_ids", dtype="int64", shape=("batch", "tokens")),),
        outputs=(_float("last_hidden_state", "batch", "tokens", config["d_model"]),),
        ranges={"batch": BATCH, "tokens": Range(minimum=1, maximum=512)},
        compute=compute,
    )


def _network(class_name: str) -> Any:
    library = transformers if hasattr(transformers, class_name) else diffusers
    return getattr(library, class_name)


def _float(name: str, *shape: int | str) -> Tensor:
    return Tensor(name=name, dtype="float32", shape=shape)


def _latent_ranges(side: int, multiple: int = 1) -> dict[str, Range]:
    values = Range(minimum=multiple, maximum=side - side % multiple, multiple=multiple)
    return {"latent_height": values, "latent_width": values}

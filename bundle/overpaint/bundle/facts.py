"""What is known of a checkpoint: its configs, and what follows from them for its manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from .record import Record

Config: TypeAlias = Mapping[str, Any]
Components: TypeAlias = Mapping[str, Config]
"""The config.json of each component by its name in the checkpoint (the VAE is `vae`)."""

DenoiserName = Literal["unet", "transformer"]
Prediction = Literal["epsilon", "v_prediction", "sample", "flow"]
EncoderKind = Literal["clip", "t5", "qwen3"]


class Latents(Record, frozen=True, kw_only=True):
    """How pixels and latents correspond.

    Encoding: z = (moments' sample - shift) * scaling; decoding the inverse. With `mean` and `std`
    (one value a channel): z = (sample - mean) * scaling / std. Image sides are multiples of
    `multiple` pixels; a latent cell covers `downscale` x `downscale` of them.
    """

    channels: int
    downscale: int
    multiple: int
    scaling: float
    shift: float = 0.0
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @property
    def inpainting_channels(self) -> int:
        """How many channels the denoiser of an inpainting checkpoint takes: those of the noisy
        latents, the mask's one, and those of the masked picture's latents."""
        return 2 * self.channels + 1


class TextEncoder(Record, frozen=True, kw_only=True):
    """How one text encoder is fed, and which of its outputs conditions the denoiser.

    `length` tokens, padded with `pad_token_id`; of `qwen3` at the most so many, and none is padded
    but where it `hides_padding`: its `attention_mask` then says which tokens are the prompt's.
    `hidden` names the graph output taken as context
    (`last_hidden_state`, or `hidden_states.<k>` counted from 0, or several of these side by side,
    `hidden_states.<i>-<j>-<k>`), if any; `pooled` the one taken as the pooled vector, if any.
    """

    component: str
    tokenizer: str
    kind: EncoderKind
    length: int
    pad_token_id: int
    hidden: str | None
    pooled: str | None = None
    hides_padding: bool = False

    @property
    def pads(self) -> bool:
        """Whether each prompt is filled up to `length`."""
        return self.kind != "qwen3" or self.hides_padding


class Text(Record, frozen=True, kw_only=True):
    """The text encoders in the order in which their contexts are joined.

    `zeros_for_absent_negative`: an *absent* negative prompt (None, which is not "") is all zeros
    (diffusers' `force_zeros_for_empty_prompt`). `aesthetic_score`: time ids carry a score instead
    of the target size (a refiner). `t5_length`, `t5_width`: what T5 gives, and the zeros in its
    place where it is absent.
    """

    encoders: tuple[TextEncoder, ...]
    zeros_for_absent_negative: bool = False
    aesthetic_score: bool = False
    t5_length: int | None = None
    t5_width: int | None = None


class Defaults(Record, frozen=True, kw_only=True):
    """What a run uses where its caller chooses nothing.

    `distilled`: these steps and this guidance are those that the checkpoint was distilled for, and
    modes and presets leave them alone.
    """

    steps: int
    guidance_scale: float
    strength: float
    sampler: str = "default"
    distilled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Configs:
    """The JSON files of a diffusers folder.

    `index` is model_index.json, `scheduler` scheduler_config.json, `components` those that are
    there, and `pad_token_ids` each tokenizer's padding.
    """

    index: Config
    scheduler: Config
    components: Components
    pad_token_ids: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What follows from them: fields of a manifest."""

    family: str
    denoiser: DenoiserName
    latents: Latents
    prediction: Prediction
    text: Text
    defaults: Defaults
    guidance_embedding_width: int | None

"""What a family is: what all of its checkpoints share, and how the rest is read from configs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from overpaint.bundle.checkpoint.tensors import InSingleFile
from overpaint.bundle.facts import (
    Components,
    Config,
    Configs,
    Defaults,
    DenoiserName,
    EncoderKind,
    Latents,
    Prediction,
    Text,
)


def unchanged(timestep: float) -> float:
    """The time as training counted it."""
    return timestep


def called_turbo(configs: Configs, name: str) -> bool:
    """Where no config tells: by the checkpoint's name."""
    return "turbo" in name.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Denoiser:
    """The component that predicts, and what its graph's inputs are called.

    `sample` takes the noisy latents, `timestep` the time, `context` the text's hidden states.
    `time` turns a training timestep, 0 to 1000, into what the graph takes.
    """

    component: DenoiserName
    sample: str
    timestep: str = "timestep"
    context: str = "encoder_hidden_states"
    time: Callable[[float], float] = unchanged


@dataclass(frozen=True, slots=True)
class Encoder:
    """A text encoder that a family has, and whether its pooled vector is taken too."""

    component: str
    kind: EncoderKind = "clip"
    pooled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Controlled:
    """How a control network's config tells that it is for a family's denoiser: it is a transformer
    itself, it embeds text and times together, or its attentions' projections are linear."""

    transformer: bool = False
    text_time: bool = False
    linear: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The facts of a family.

    name: what manifests call it; its files in other rooms are called the same (see `module`).
    title: what people call it.
    recognises: whether a checkpoint of these components is of this family, and of no other.
    predictions: what its denoisers were trained to predict; where there are several, the scheduler
        config names one, and the first is meant where it does not.
    encoders: its text encoders, in the order in which their contexts are joined.
    latents: made of the VAE's config and the denoiser's.
    defaults, turbo: those of diffusers' image-to-image pipeline, and those of checkpoints that were
        distilled for few steps.
    is_turbo: whether a checkpoint was, by its configs and its name.
    single_file: where each component lies in a single file.
    optional: components that a checkpoint may lack.
    rounding: whether strength rounds a fraction of a step down or up.
    even_sigmas: whether diffusers' pipelines name the noise levels, evenly from 1 to 1/steps, or
        leave them to the scheduler.
    shift: μ of how many tokens a picture has and how many steps are asked for, where a scheduler's
        config has noise levels shifted by the picture's size and diffusers' pipelines know better
        than it by how much.
    mask_cells: how diffusers' pipeline brings a hard mask to latent cells.
    legacy_scheduler_config: whether diffusers' pipeline mends scheduler configs of before 2022.
    controlled: what tells its control networks; None where there are none.
    refines: the title of the family whose pictures this one finishes.
    """

    name: str
    title: str
    recognises: Callable[[Components], bool]
    denoiser: Denoiser
    predictions: tuple[Prediction, ...]
    encoders: tuple[Encoder, ...]
    latents: Callable[[Config, Config], Latents]
    text: Callable[[Configs], Text]
    defaults: Defaults
    turbo: Defaults
    single_file: Mapping[str, InSingleFile]
    optional: frozenset[str] = frozenset()
    is_turbo: Callable[[Configs, str], bool] = called_turbo
    rounding: Literal["down", "up"] = "down"
    even_sigmas: bool = False
    shift: Callable[[int, int], float] | None = None
    mask_cells: Literal["nearest", "middle"] = "nearest"
    legacy_scheduler_config: bool = False
    controlled: Controlled | None = None
    refines: str | None = None

    @property
    def module(self) -> str:
        """What the family's file is called in each room."""
        return self.name.replace("-", "_")

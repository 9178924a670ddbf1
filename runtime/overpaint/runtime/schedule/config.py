"""What a scheduler_config.json says: one closed vocabulary, and what of it the file wrote.

A sampler reads the fields that its scheduler class in diffusers has, with that class's defaults for
what the file does not write; see `resolve` in make.py. A field or value outside the vocabulary is
an error that names it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from overpaint.engines.errors import ManifestError

Count = Annotated[int, Meta(ge=1)]
Index = Annotated[int, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0)]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every field that a scheduler config may write, at the value that leaves it without effect."""

    # the noise schedule of the training
    num_train_timesteps: Count = 1000
    beta_start: float = 0.0001
    beta_end: float = 0.02
    beta_schedule: Literal[
        "linear", "scaled_linear", "squaredcos_cap_v2", "exp", "laplace", "sigmoid"
    ] = "linear"
    trained_betas: list[float] | None = None
    rescale_betas_zero_snr: bool = False
    prediction_type: Literal[
        "epsilon", "sample", "original_sample", "v_prediction", "flow_prediction"
    ] = "epsilon"

    # which timesteps and noise levels are visited
    timestep_spacing: Literal["linspace", "leading", "trailing"] = "linspace"
    timestep_type: Literal["discrete", "continuous"] = "discrete"
    steps_offset: Index = 0
    interpolation_type: Literal["linear", "log_linear"] = "linear"
    use_karras_sigmas: bool = False
    use_exponential_sigmas: bool = False
    use_beta_sigmas: bool = False
    use_lu_lambdas: bool = False
    sigma_min: Positive | None = None
    sigma_max: Positive | None = None
    final_sigmas_type: Literal["zero", "sigma_min"] = "zero"
    set_alpha_to_one: bool = True
    lambda_min_clipped: float = float("-inf")
    original_inference_steps: Count = 50

    # flow matching
    use_flow_sigmas: bool = False
    flow_shift: Positive = 1.0
    shift: Positive = 1.0
    use_dynamic_shifting: bool = False
    base_shift: float = 0.5
    max_shift: float = 1.16
    base_image_seq_len: Count = 256
    max_image_seq_len: Count = 4096
    time_shift_type: Literal["exponential", "linear"] = "exponential"
    shift_terminal: float | None = None
    stochastic_sampling: bool = False
    invert_sigmas: bool = False

    # the solver
    algorithm_type: Literal[
        "dpmsolver++", "dpmsolver", "sde-dpmsolver++", "sde-dpmsolver", "deis"
    ] = "dpmsolver++"
    solver_order: Literal[1, 2, 3] = 2
    solver_type: Literal["midpoint", "heun", "bh1", "bh2", "logrho"] = "midpoint"
    lower_order_final: bool = True
    euler_at_final: bool = False
    predict_x0: bool = True
    disable_corrector: list[Index] = []
    solver_p: None = None
    skip_prk_steps: bool = True
    variance_type: Literal[
        "fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log", "learned",
        "learned_range",
    ] | None = None  # fmt: skip
    timestep_scaling: Positive = 10.0
    noise_sampler_seed: int | None = None

    # what is done to the predicted x₀
    clip_sample: bool = False
    clip_sample_range: Positive = 1.0
    thresholding: bool = False
    dynamic_thresholding_ratio: Annotated[float, Meta(ge=0, le=1)] = 0.995
    sample_max_value: Positive = 1.0


VOCABULARY = frozenset(Options.__struct_fields__)

RELATIVES = frozenset(
    {
        "DEISMultistepScheduler",
        "DPMSolverSinglestepScheduler",
        "IPNDMScheduler",
        "KDPM2AncestralDiscreteScheduler",
        "KDPM2DiscreteScheduler",
        "LMSDiscreteScheduler",
        "SASolverScheduler",
    }
)
"""Scheduler classes whose config any of our samplers can take over, though none is their own."""


@dataclass(frozen=True, slots=True)
class SchedulerConfig:
    """A scheduler_config.json: the class it names, and the fields it writes (null is unwritten)."""

    scheduler: str
    written: Mapping[str, Any]


def read_scheduler_config(source: str | Path | Mapping[str, Any]) -> SchedulerConfig:
    """Read a scheduler_config.json, or its contents. ManifestError names what is not understood."""
    if isinstance(source, Mapping):
        where, fields = "the scheduler config", dict(source)
    else:
        where, fields = str(source), _load(Path(source))
    scheduler = fields.pop("_class_name", None)
    if not isinstance(scheduler, str):
        raise ManifestError(f"{where}: expected the scheduler's name in '_class_name', found none")
    written = {k: v for k, v in fields.items() if not k.startswith("_") and v is not None}
    from overpaint.runtime.schedule.samplers import SCHEDULERS

    if scheduler not in SCHEDULERS and scheduler not in RELATIVES:
        raise ManifestError(
            f"{where}: scheduler class {scheduler!r} is not supported. "
            f"Supported: {', '.join(sorted(SCHEDULERS))}; and, if a sampler is named, "
            f"the configs of {', '.join(sorted(RELATIVES))}"
        )
    for name in written:
        if name not in VOCABULARY:
            raise ManifestError(
                f"{where}: field {name!r} is not supported. "
                f"Supported: {', '.join(sorted(VOCABULARY))}"
            )
    check(written, where)
    return SchedulerConfig(scheduler, MappingProxyType(written))


def brought_up_to_date(config: SchedulerConfig) -> SchedulerConfig:
    """What diffusers' Stable Diffusion 1 and 2 pipelines make of a config (SDXL's and SD3's do
    not): steps_offset is 1 and clip_sample false, which early checkpoints forgot to write."""
    fresh = {**config.written, "steps_offset": 1, "clip_sample": False}
    return SchedulerConfig(config.scheduler, MappingProxyType(fresh))


def check(written: Mapping[str, Any], where: str) -> Options:
    """The options that these fields spell; ManifestError names the field whose value is wrong."""
    try:
        return msgspec.convert(dict(written), Options)
    except msgspec.ValidationError as error:
        raise ManifestError(f"{where}: {error}") from None


def _load(path: Path) -> dict[str, Any]:
    file = path / "scheduler_config.json" if path.is_dir() else path
    try:
        # json and not msgspec: diffusers writes -Infinity for lambda_min_clipped
        fields = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ManifestError(f"{file}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise ManifestError(f"{file}: is not JSON ({error})") from None
    if not isinstance(fields, dict):
        raise ManifestError(f"{file}: expected a JSON object, found {type(fields).__name__}")
    return fields

"""The closed vocabulary of a scheduler_config.json: every field, its type and what it may be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args, get_type_hints

import msgspec
from msgspec import Meta

from overpaint.bundle.errors import ManifestError

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


def check(written: Mapping[str, Any], where: str) -> Options:
    """The options that these fields spell; ManifestError names the field whose value is wrong."""
    try:
        return msgspec.convert(dict(written), Options)
    except msgspec.ValidationError as error:
        raise ManifestError(f"{where}: {error}{_supported(str(error))}") from None


def _supported(error: str) -> str:
    """The values that the field of a validation error may have, where they are a list."""
    field = re.search(r"\$\.(\w+)", error)
    values = get_args(get_type_hints(Options)[field[1]]) if field else ()
    values = tuple(v for value in values for v in (get_args(value) or (value,)))
    names = [str(value) for value in values if isinstance(value, str | int)]
    return f". Supported: {', '.join(names)}" if names else ""

"""The closed vocabulary of a scheduler_config.json: every field, its type and what it may be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import inf, isfinite
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from overpaint.bundle.errors import ManifestError
from overpaint.bundle.schema_errors import explain

MOST_TIMESTEPS: Final = 10_000  # ten times what anybody trains with

Timesteps = Annotated[int, Meta(ge=1, le=MOST_TIMESTEPS)]
Index = Annotated[int, Meta(ge=0, le=MOST_TIMESTEPS)]
Tokens = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Beta = Annotated[float, Meta(gt=0, lt=1)]
Betas = Annotated[
    list[Annotated[float, Meta(gt=0, le=1)]], Meta(min_length=1, max_length=MOST_TIMESTEPS)
]
Positive = Annotated[float, Meta(gt=0, le=1e6)]
Exponent = Annotated[float, Meta(ge=-100, le=100)]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every field that a scheduler config may write, at the value that leaves it without effect."""

    # the noise schedule of the training
    num_train_timesteps: Timesteps = 1000
    beta_start: Beta = 0.0001
    beta_end: Beta = 0.02
    beta_schedule: Literal[
        "linear", "scaled_linear", "squaredcos_cap_v2", "exp", "laplace", "sigmoid"
    ] = "linear"
    trained_betas: Betas | None = None
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
    lambda_min_clipped: Annotated[float, Meta(le=100)] = -inf
    original_inference_steps: Timesteps = 50

    # flow matching
    use_flow_sigmas: bool = False
    flow_shift: Positive = 1.0
    shift: Positive = 1.0
    use_dynamic_shifting: bool = False
    base_shift: Exponent = 0.5
    max_shift: Exponent = 1.16
    base_image_seq_len: Tokens = 256
    max_image_seq_len: Tokens = 4096
    time_shift_type: Literal["exponential", "linear"] = "exponential"
    shift_terminal: Annotated[float, Meta(ge=0, lt=1)] | None = None
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
    disable_corrector: Annotated[list[Index], Meta(max_length=MOST_TIMESTEPS)] = []
    solver_p: None = None
    skip_prk_steps: bool = True
    variance_type: Literal[
        "fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log", "learned",
        "learned_range",
    ] | None = None  # fmt: skip
    timestep_scaling: Positive = 10.0
    noise_sampler_seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None

    # what is done to the predicted x₀
    clip_sample: bool = False
    clip_sample_range: Positive = 1.0
    thresholding: bool = False
    dynamic_thresholding_ratio: Annotated[float, Meta(ge=0, le=1)] = 0.995
    sample_max_value: Positive = 1.0


UNCLIPPED: Final = ("lambda_min_clipped", -inf)
VOCABULARY = frozenset(Options.__struct_fields__)


def check(written: Mapping[str, Any], where: str) -> Options:
    """The options that these fields spell; ManifestError names the field whose value is wrong."""
    for name, value in written.items():
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, float) and not isfinite(number) and (name, number) != UNCLIPPED:
                raise ManifestError(f"{where}: {name}: expected a finite number, got {number}")
    try:
        options = msgspec.convert(dict(written), Options)
    except msgspec.ValidationError as error:
        raise ManifestError(f"{where}: {explain(dict(written), Options) or error}") from None
    for problem in _contradictions(options):
        raise ManifestError(f"{where}: {problem}")
    return options


def _contradictions(options: Options) -> Iterator[str]:
    betas, total = options.trained_betas, options.num_train_timesteps
    if betas is not None and len(betas) != total:
        yield f"trained_betas: expected {total} values (num_train_timesteps), got {len(betas)}"
    low, high = options.sigma_min, options.sigma_max
    if low is not None and high is not None and low >= high:
        yield f"sigma_min: expected less than sigma_max, {high:g}, got {low:g}"
    fewest, most = options.base_image_seq_len, options.max_image_seq_len
    if fewest >= most:
        yield f"base_image_seq_len: expected less than max_image_seq_len, {most}, got {fewest}"

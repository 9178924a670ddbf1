"""Which sampler runs with which options, given a scheduler config and what the user asked for.

Fields that the config writes carry over where the sampler's scheduler class has them; what it does
not write takes that class's own default. Clipping and thresholding are off unless the file says so.
"""

from __future__ import annotations

from typing import Any

from overpaint.bundle.errors import UsageError
from overpaint.runtime.choices import SIGMAS

from .config import SchedulerConfig
from .options import Options, check
from .sampler import CURVES, Sampler
from .samplers import REGISTRY, SCHEDULERS

SAMPLERS: tuple[str, ...] = ("default", *sorted(REGISTRY))

FLOW = "FlowMatchEulerDiscreteScheduler"

REQUESTS = (
    "clip_sample",
    "interpolation_type",
    "invert_sigmas",
    "rescale_betas_zero_snr",
    "shift_terminal",
    "sigma_max",
    "sigma_min",
    "stochastic_sampling",
    "thresholding",
    "timestep_type",
    "use_beta_sigmas",
    "use_dynamic_shifting",
    "use_exponential_sigmas",
    "use_flow_sigmas",
    "use_karras_sigmas",
    "use_lu_lambdas",
    "variance_type",
)
"""Fields that ask for something a user would miss: reported where the sampler has no such thing."""


def resolve(
    config: SchedulerConfig, sampler: str, sigmas: str
) -> tuple[Sampler, Options, tuple[str, ...]]:
    """The sampler, its options, and what the config asks for in vain, as "field=value"."""
    found = _find(config, sampler)
    fields = dict(found.fields)
    fields |= {name: value for name, value in config.written.items() if name in found.fields}
    fields |= found.always
    if sampler != "default":
        fields |= found.implies
        fields |= _flow_fields(config, found)
    if sigmas != "default":
        fields |= _curve_fields(found, sigmas)
    options = check(fields, f"the scheduler config, read for the sampler {found.name}")
    _check_together(options, found)
    neutral = Options()
    ignored = tuple(
        f"{name}={config.written[name]}"
        for name in REQUESTS
        if name in config.written
        and name not in fields
        and config.written[name] != getattr(neutral, name)
    )
    return found, options, ignored


def name_of(found: Sampler, options: Options) -> str:
    """The name under which a user finds these options, or the scheduler class's where none fits."""
    for one in REGISTRY.values():
        implied = all(getattr(options, name) == value for name, value in one.implies.items())
        if one.scheduler == found.scheduler and implied:
            return one.name
    return found.scheduler


def _find(config: SchedulerConfig, sampler: str) -> Sampler:
    if sampler == "default":
        if config.scheduler not in SCHEDULERS:
            raise UsageError(
                f"sampler: this checkpoint's own scheduler, {config.scheduler}, is not supported. "
                f"Choose one of {', '.join(SAMPLERS[1:])}"
            )
        return SCHEDULERS[config.scheduler]
    if sampler not in REGISTRY:
        raise UsageError(f"sampler: expected one of {', '.join(SAMPLERS)}, got {sampler!r}")
    return REGISTRY[sampler]


def _flow_fields(config: SchedulerConfig, found: Sampler) -> dict[str, Any]:
    """Flow levels carry over to the samplers that have them; the others must not be mixed with."""
    written = config.written
    is_flow = config.scheduler == FLOW or written.get("use_flow_sigmas", False)
    takes_flow = found.scheduler == FLOW or "use_flow_sigmas" in found.fields
    if is_flow and not takes_flow:
        raise UsageError(
            f"sampler: {found.name} cannot run a flow-matching checkpoint. "
            f"Choose one of {', '.join(_flow_samplers())}"
        )
    if found.scheduler == FLOW and not is_flow:
        raise UsageError(
            f"sampler: {found.name} runs flow-matching checkpoints (SD3) only, and this one's "
            f"scheduler is {config.scheduler}"
        )
    if config.scheduler == FLOW and found.scheduler != FLOW:
        return {
            "use_flow_sigmas": True,
            "prediction_type": "flow_prediction",
            "flow_shift": written.get("shift", 1.0),
        }
    if found.scheduler == FLOW and config.scheduler != FLOW:
        return {"shift": written.get("flow_shift", 1.0)}
    return {}


def _curve_fields(found: Sampler, sigmas: str) -> dict[str, Any]:
    if sigmas not in SIGMAS:
        raise UsageError(f"sigmas: expected one of {', '.join(SIGMAS)}, got {sigmas!r}")
    if not CURVES.keys() <= found.fields.keys():
        able = [name for name, one in REGISTRY.items() if CURVES.keys() <= one.fields.keys()]
        raise UsageError(
            f"sigmas: {found.name} has no {sigmas} sigmas. "
            f"Samplers that have: {', '.join(sorted(able))}"
        )
    return {f"use_{name}_sigmas": name == sigmas for name in SIGMAS[1:]}


def _flow_samplers() -> list[str]:
    return sorted(
        name
        for name, one in REGISTRY.items()
        if one.scheduler == FLOW or "use_flow_sigmas" in one.fields
    )


def _check_together(options: Options, found: Sampler) -> None:
    curves = [f"use_{name}_sigmas" for name in SIGMAS[1:] if getattr(options, f"use_{name}_sigmas")]
    if len(curves) > 1:
        raise UsageError(f"only one of {', '.join(curves)} can be true")
    flows = options.use_flow_sigmas or found.scheduler == FLOW
    if options.prediction_type == "flow_prediction" and not flows:
        raise UsageError(
            f"prediction_type 'flow_prediction' needs flow sigmas, which the config does not ask "
            f"for. Choose one of {', '.join(_flow_samplers())} and use_flow_sigmas: true"
        )
    if options.use_flow_sigmas and options.prediction_type == "v_prediction":
        raise UsageError("prediction_type 'v_prediction' is not supported with use_flow_sigmas")
    if options.shift_terminal is not None and not flows:
        raise UsageError("shift_terminal is supported with flow sigmas only")
    found.check(options)

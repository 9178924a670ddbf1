"""DPM-Solver, DPM-Solver++ and their SDE variants, multistep, of order 1 to 3."""

from __future__ import annotations

import math

import numpy as np

from overpaint.bundle.errors import UsageError
from overpaint.runtime.schedule.levels import dpm_solver
from overpaint.runtime.schedule.options import Options
from overpaint.runtime.schedule.prediction import epsilon_from, x0_from
from overpaint.runtime.schedule.sampler import CURVES, LINSPACE, THRESHOLDS, TRAINED, Run, Sampler
from overpaint.runtime.schedule.table import Row


def dpm_multistep(run: Run) -> list[Row]:
    """x' = r·x − g·[φ₁(k)·D₀ + φ₂(k)·D₁ + φ₃(k)·D₂] + c·z, Dₙ the differences of h in λ = log(α/σ).

    With s = λ' − λ:
        dpmsolver++       h = x₀   r = σ'/σ        g = α'    k = −s
        sde-dpmsolver++   h = x₀   r = e⁻ˢ·σ'/σ    g = α'    k = −2s   c = σ'·√(1 − e⁻²ˢ)
        dpmsolver         h = ε    r = α'/α        g = σ'    k = s
        sde-dpmsolver     h = ε    r = α'/α        g = 2σ'   k = s     c = σ'·√(e²ˢ − 1)

    Lu et al. 2022, "DPM-Solver++", algorithm 2 and appendix B; order = solver_order.
    """
    at, options = run.levels, run.options
    with np.errstate(divide="ignore"):
        lambdas = np.log(at.alpha / at.sigma)
        steps = np.log(at.alpha_next / at.sigma_next) - lambdas
        inverse = 1 / steps
    rows = []
    for i in run.steps:
        # a step of no length (curves that end where final_sigmas_type puts the end) has no slope
        order = _order(options, i, len(at), executed=i - run.start) if steps[i] else 1
        a, gain, k, noise = _carry(options.algorithm_type, at_step(run, i), float(steps[i]))
        backwards = np.diff(lambdas[i - order + 1 : i + 1])[::-1] * inverse[i]
        b = _weights(options, order, gain, k, [float(r) for r in backwards])
        rows.append(_row(run, i, a, b, noise))
    return rows


def at_step(run: Run, i: int) -> tuple[float, float, float, float]:
    """(α, σ, α', σ') of step i."""
    at = run.levels
    return float(at.alpha[i]), float(at.sigma[i]), float(at.alpha_next[i]), float(at.sigma_next[i])


def _carry(
    algorithm: str, ends: tuple[float, float, float, float], step: float
) -> tuple[float, float, float, float]:
    """(r, g, k, c) of the formula above."""
    alpha, sigma, alpha_next, sigma_next = ends
    match algorithm:
        case "dpmsolver":
            return alpha_next / alpha, sigma_next, step, 0.0
        case "sde-dpmsolver":
            noise = sigma_next * math.sqrt(math.expm1(2 * step))
            return alpha_next / alpha, 2 * sigma_next, step, noise
        case "sde-dpmsolver++":
            noise = sigma_next * math.sqrt(-math.expm1(-2 * step))
            return sigma_next / sigma * math.exp(-step), alpha_next, -2 * step, noise
        case _:
            return sigma_next / sigma, alpha_next, -step, 0.0


def _order(options: Options, i: int, count: int, executed: int) -> int:
    """The order of step i: what the history allows, and lower at the end where it is unstable."""
    few = options.lower_order_final and count < 15
    if i == count - 1 and (few or options.euler_at_final or options.final_sigmas_type == "zero"):
        return 1
    ceiling = 2 if i == count - 2 and few else 3
    return min(options.solver_order, executed + 1, ceiling)


def _weights(
    options: Options, order: int, gain: float, k: float, ratios: list[float]
) -> tuple[float, ...]:
    """b of the formula above. `ratios` are the last steps in λ, in units of this one."""
    first = -gain * math.expm1(k)
    if order == 1:
        return (first,)
    second = -gain * phi2(k)
    if order == 2:
        second = first / 2 if options.solver_type in ("midpoint", *_FOREIGN_TYPES) else second
        slope = second / ratios[0]
        return (first + slope, -slope)
    third = -gain * phi3(k)
    if options.algorithm_type == "sde-dpmsolver++":
        third -= gain  # the reference's sign; see docs/decisions/0003
    near, far = 1 / ratios[0], 1 / ratios[1]
    blend = ratios[0] / (ratios[0] + ratios[1])
    bend = 1 / (ratios[0] + ratios[1])
    # D₁ = d + blend·(d − d'), D₂ = bend·(d − d'), d = near·(h₀ − h₁), d' = far·(h₁ − h₂)
    on_d = second * (1 + blend) + third * bend
    on_d_before = -second * blend - third * bend
    return (first + on_d * near, -on_d * near + on_d_before * far, -on_d_before * far)


def phi2(k: float) -> float:
    """(eᵏ − 1)/k − 1, with its limit at 0."""
    return math.expm1(k) / k - 1 if k else 0.0


def phi3(k: float) -> float:
    """(eᵏ − 1 − k)/k² − ½, with its limit at 0."""
    return (math.expm1(k) - k) / k**2 - 0.5 if k else 0.0


def _row(run: Run, i: int, a: float, b: tuple[float, ...], noise: float) -> Row:
    at, options = run.levels, run.options
    alpha, sigma, alpha_next, sigma_next = at_step(run, i)
    over_noise = options.algorithm_type in ("dpmsolver", "sde-dpmsolver")
    history = epsilon_from if over_noise else x0_from
    p, q = history(options.prediction_type, alpha, sigma)
    stochastic = options.algorithm_type.startswith("sde")
    return Row(
        timestep=float(at.timesteps[i]),
        alpha=alpha,
        sigma=sigma,
        scale_in=1.0,
        p=p,
        q=q,
        a=a,
        b=b,
        c=(noise,) if stochastic else (),
        draws=stochastic,
        preview=x0_from("epsilon", alpha_next, sigma_next) if over_noise else (0.0, 1.0),
    )


_FOREIGN_TYPES = ("bh1", "bh2", "logrho")
"""solver_type of UniPC and DEIS: read as midpoint, as the reference does."""


def _check(options: Options) -> None:
    algorithm = options.algorithm_type
    over_noise = algorithm in ("dpmsolver", "sde-dpmsolver")
    if options.variance_type is not None:
        raise UsageError(
            f"variance_type {options.variance_type!r}: learned variance is not supported"
        )
    if over_noise and options.final_sigmas_type == "zero":
        raise UsageError(f"algorithm_type {algorithm!r} needs final_sigmas_type 'sigma_min'")
    if over_noise and options.thresholding:
        raise UsageError(f"thresholding is supported with x₀ solvers only, not {algorithm!r}")
    if algorithm == "sde-dpmsolver" and options.solver_order == 3:
        raise UsageError("algorithm_type 'sde-dpmsolver' has no third order (solver_order 3)")
    curves = options.use_karras_sigmas or options.use_exponential_sigmas or options.use_beta_sigmas
    if options.use_flow_sigmas and (curves or options.use_lu_lambdas):
        raise UsageError("dpmpp has no karras, exponential, beta or Lu curve for flow sigmas")


_FIELDS = (
    TRAINED
    | LINSPACE
    | CURVES
    | THRESHOLDS
    | {
        "solver_order": 2,
        "algorithm_type": "dpmsolver++",
        "solver_type": "midpoint",
        "lower_order_final": True,
        "euler_at_final": False,
        "use_lu_lambdas": False,
        "use_flow_sigmas": False,
        "flow_shift": 1.0,
        "final_sigmas_type": "zero",
        "lambda_min_clipped": float("-inf"),
        "variance_type": None,
        "rescale_betas_zero_snr": False,
        "use_dynamic_shifting": False,
        "time_shift_type": "exponential",
        "base_shift": 0.5,
        "max_shift": 1.16,
        "base_image_seq_len": 256,
        "max_image_seq_len": 4096,
    }
)

SAMPLERS = tuple(
    Sampler(
        name=name,
        scheduler="DPMSolverMultistepScheduler",
        fields=_FIELDS,
        implies={"algorithm_type": algorithm, "solver_order": order},
        levels=dpm_solver,
        rows=dpm_multistep,
        check=_check,
        finite=True,
    )
    for name, algorithm, order in (
        ("dpmpp-2m", "dpmsolver++", 2),
        ("dpmpp-2m-sde", "sde-dpmsolver++", 2),
        ("dpmpp-3m", "dpmsolver++", 3),
        ("dpmpp-3m-sde", "sde-dpmsolver++", 3),
    )
)

"""UniPC: a multistep predictor whose every step the next evaluation corrects, for free."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from overpaint.bundle.errors import UsageError
from overpaint.runtime.schedule.levels import unipc as levels
from overpaint.runtime.schedule.options import Options
from overpaint.runtime.schedule.prediction import epsilon_from, x0_from
from overpaint.runtime.schedule.sampler import CURVES, LINSPACE, THRESHOLDS, TRAINED, Run, Sampler
from overpaint.runtime.schedule.table import Row

Weights = NDArray[np.float64]
"""On h, newest first."""


def unipc(run: Run) -> list[Row]:
    """Predict x' = r·xᶜ + Σⱼ wⱼ·hᵢ₋ⱼ; once h is known at x', correct x'ᶜ = r·xᶜ + Σⱼ vⱼ·hᵢ₊₁₋ⱼ.

    Both have the same r, so xᶜᵢ = xᵢ + Σⱼ (vⱼ − wⱼ₋₁)·hᵢ₋ⱼ: the correction is a change of weights,
    and a row is a = r, b = w + r·(v − w of the row before). Order solver_order + 1.
    Zhao et al. 2023, "UniPC", algorithms 1 and 2, B(h) of solver_type.
    """
    at, options = run.levels, run.options
    with np.errstate(divide="ignore"):
        lambdas = np.log(at.alpha / at.sigma)
        lambdas = np.append(lambdas, np.log(at.alpha_next[-1] / at.sigma_next[-1]))
    rows: list[Row] = []
    before, order_before = np.zeros(0), 0
    for i in run.steps:
        left = len(at) - i if options.lower_order_final else options.solver_order
        left = left if lambdas[i + 1] > lambdas[i] else 1  # a step of no length has no slope
        order = min(options.solver_order, left, i - run.start + 1)
        ratio, gain = _carry(run, i)
        weights = np.zeros(options.solver_order + 1)
        predicted = _predictor(options, gain, lambdas[i - order + 1 : i + 2][::-1])
        weights[:order] = predicted
        if order_before and i - 1 not in options.disable_corrector:
            known = lambdas[i - order_before : i + 1][::-1]
            correction = _corrector(options, _carry(run, i - 1)[1], known)
            correction[1:] -= before
            weights[: len(correction)] += ratio * correction
        rows.append(_row(run, i, ratio, weights))
        before, order_before = predicted, order
    return rows


def _carry(run: Run, i: int) -> tuple[float, float]:
    """(r, g): how much of x a step keeps, and the factor on all of its h."""
    at = run.levels
    if run.options.predict_x0:
        return float(at.sigma_next[i] / at.sigma[i]), float(at.alpha_next[i])
    return float(at.alpha_next[i] / at.alpha[i]), float(at.sigma_next[i])


def _predictor(options: Options, gain: float, lambdas: Weights) -> Weights:
    """w of a step to λ[0] from λ[1], with h known at λ[1:]."""
    k, base, ratios = _step(options, lambdas)
    match len(ratios):
        case 0:
            rho = np.zeros(0)
        case 1:
            rho = np.array([0.5])
        case _:
            rho = _solve(ratios, k, base)
    return _on_h(gain, k, base, rho, ratios)


def _corrector(options: Options, gain: float, lambdas: Weights) -> Weights:
    """v of a step to λ[0] from λ[1], with h known at all of λ, the end included."""
    k, base, ratios = _step(options, lambdas)
    ratios = np.append(ratios, 1.0)
    rho = _solve(ratios, k, base) if len(ratios) > 1 else np.array([0.5])
    start, *others, end = _on_h(gain, k, base, rho, ratios)
    return np.array([end, start, *others])


def _step(options: Options, lambdas: Weights) -> tuple[float, float, Weights]:
    """(k, B, r): k is the step in λ, negative for x₀; r the older levels in units of the step."""
    step = float(lambdas[0] - lambdas[1])
    k = -step if options.predict_x0 else step
    base = k if options.solver_type == "bh1" else math.expm1(k)
    return k, base, (lambdas[2:] - lambdas[1]) / step


def _solve(ratios: Weights, k: float, base: float) -> Weights:
    """ρ of Σⱼ ρⱼ·rⱼⁿ⁻¹ = n!·φₙ₊₁(k)·k/B for n = 1, 2, …: the moments of eᵏ that count."""
    moments, phi = [], math.expm1(k) / k - 1
    for n in range(1, len(ratios) + 1):
        moments.append(math.factorial(n) * phi / base)
        phi = phi / k - 1 / math.factorial(n + 1)
    return np.linalg.solve(np.stack([ratios**n for n in range(len(ratios))]), np.array(moments))


def _on_h(gain: float, k: float, base: float, rho: Weights, ratios: Weights) -> Weights:
    """−g·[(eᵏ−1)·h₀ + B·Σⱼ ρⱼ·(hⱼ − h₀)/rⱼ] as weights on h₀ and the hⱼ."""
    slopes = -gain * base * rho / ratios
    return np.concatenate([[-gain * math.expm1(k) - slopes.sum()], slopes])


def _row(run: Run, i: int, a: float, weights: Weights) -> Row:
    at, options = run.levels, run.options
    history = x0_from if options.predict_x0 else epsilon_from
    p, q = history(options.prediction_type, float(at.alpha[i]), float(at.sigma[i]))
    end = float(at.alpha_next[i]), float(at.sigma_next[i])
    used = int(np.flatnonzero(weights)[-1]) + 1 if weights.any() else 1
    return Row(
        timestep=float(at.timesteps[i]),
        alpha=float(at.alpha[i]),
        sigma=float(at.sigma[i]),
        scale_in=1.0,
        p=p,
        q=q,
        a=a,
        b=tuple(map(float, weights[:used])),
        preview=(0.0, 1.0) if options.predict_x0 else x0_from("epsilon", *end),
    )


def _check(options: Options) -> None:
    if options.thresholding and not options.predict_x0:
        raise UsageError("thresholding is supported by unipc with predict_x0 only")
    if options.prediction_type == "flow_prediction" and not options.predict_x0:
        raise UsageError("unipc predicts flow with predict_x0 only")
    if options.use_flow_sigmas and (options.use_exponential_sigmas or options.use_beta_sigmas):
        raise UsageError("unipc has no exponential or beta curve for flow sigmas")


SAMPLERS = (
    Sampler(
        name="unipc",
        scheduler="UniPCMultistepScheduler",
        fields=TRAINED
        | LINSPACE
        | CURVES
        | THRESHOLDS
        | {
            "solver_order": 2,
            "predict_x0": True,
            "solver_type": "bh2",
            "lower_order_final": True,
            "disable_corrector": [],
            "solver_p": None,
            "use_flow_sigmas": False,
            "flow_shift": 1.0,
            "final_sigmas_type": "zero",
            "rescale_betas_zero_snr": False,
            "use_dynamic_shifting": False,
            "time_shift_type": "exponential",
            "base_shift": 0.5,
            "max_shift": 1.16,
            "base_image_seq_len": 256,
            "max_image_seq_len": 4096,
            "shift_terminal": None,
        },
        levels=levels,
        rows=unipc,
        check=_check,
        finite=True,
    ),
)

"""What a denoiser's output m says about x = α·x₀ + σ·ε, as (p, q) of p·x + q·m."""

from __future__ import annotations

import math

from overpaint.bundle.errors import UsageError


def x0_from(kind: str, alpha: float, sigma: float) -> tuple[float, float]:
    """The predicted x₀. Holds for every convention: α² + σ² = 1 (VP), α = 1 (VE), α = 1 − σ (flow).

    `kind` is the config's prediction_type; v is Salimans & Ho 2022, flow m = ε − x₀.
    """
    match kind:
        case "epsilon":
            return (1 / alpha, -sigma / alpha) if alpha else (math.inf, -math.inf)
        case "v_prediction":
            square = alpha**2 + sigma**2
            return alpha / square, -sigma / math.sqrt(square)
        case "flow_prediction":
            return 1.0, -sigma
        case "sample" | "original_sample":
            return 0.0, 1.0
    raise UsageError(f"prediction_type {kind!r} is not supported")


def epsilon_from(kind: str, alpha: float, sigma: float) -> tuple[float, float]:
    """The predicted noise, ε = (x − α·x₀)/σ."""
    if kind == "epsilon":
        return 0.0, 1.0
    p, q = x0_from(kind, alpha, sigma)
    return (1 - alpha * p) / sigma, -alpha * q / sigma

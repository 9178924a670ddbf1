"""Every table is the scheduler class's arithmetic, row by row, over more than a thousand runs."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from tests.runtime.schedule.diffusers_reference import (
    SD,
    SHAPE,
    compare,
    float64_throughout,
    reference_scheduler,
)

from overpaint.runtime.schedule import advance, begin, make_schedule, preview, read_scheduler_config

torch.set_num_threads(1)

EXACT = 1e-9
"""Largest difference of the two arithmetics in float64, relative to the largest latent."""

ROUNDED = 1e-6
"""The same, where a class rounds a factor to float32 in passing: DPMSolverSDE's timesteps are not,
Euler's are; LCM's boundary factors are; log_linear's levels are made in it."""

AS_IS = 5e-6
"""Largest difference to the classes as they are, in float32 throughout."""

RUNS = ((1, 1.0), (4, 0.8), (10, 0.6), (14, 1.0), (25, 1.0), (50, 0.58))
FEW_RUNS = ((1, 1.0), (4, 1.0), (7, 0.6), (25, 0.5))

Fields = dict[str, Any]


def each(**choices: list[Any]) -> list[Fields]:
    return [dict(zip(choices, values, strict=True)) for values in product(*choices.values())]


SPACINGS: list[Fields] = [
    {"timestep_spacing": "linspace"},
    {"timestep_spacing": "leading", "steps_offset": 1},
    {"timestep_spacing": "trailing"},
]
PREDICTIONS = ["epsilon", "v_prediction", "sample"]
CURVES: list[Fields] = [
    {"use_karras_sigmas": True},
    {"use_exponential_sigmas": True},
    {"use_beta_sigmas": True},
]
BETAS: list[Fields] = [
    {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02},
    {"beta_schedule": "squaredcos_cap_v2"},
    {"num_train_timesteps": 400},
    {"trained_betas": [0.001 + 0.0002 * i for i in range(100)], "num_train_timesteps": 100},
]
ZERO_SNR: Fields = {
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "prediction_type": "v_prediction",
}
CLIPPED: list[Fields] = [
    {"clip_sample": True, "clip_sample_range": 0.8},
    {"thresholding": True, "sample_max_value": 1.5, "dynamic_thresholding_ratio": 0.9},
]
FLOW: Fields = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}


def crossed(*lists: list[Fields]) -> list[Fields]:
    return [{k: v for part in parts for k, v in part.items()} for parts in product(*lists)]


def predicted(*kinds: str) -> list[Fields]:
    return [{"prediction_type": kind} for kind in kinds]


VARIANTS: dict[str, list[Fields]] = {
    "EulerDiscreteScheduler": [
        *crossed(SPACINGS, predicted(*PREDICTIONS)),
        *crossed(SPACINGS, CURVES),
        *BETAS,
        ZERO_SNR,
        {"interpolation_type": "log_linear"},
        {"timestep_type": "continuous", "prediction_type": "v_prediction"},
        *crossed([{"final_sigmas_type": "sigma_min"}], SPACINGS),
        *crossed([{"sigma_min": 0.05, "sigma_max": 20.0}], CURVES),
    ],
    "EulerAncestralDiscreteScheduler": [
        *crossed(SPACINGS, predicted("epsilon", "v_prediction")),
        *BETAS,
        ZERO_SNR,
    ],
    "HeunDiscreteScheduler": [
        *crossed(SPACINGS, predicted(*PREDICTIONS)),
        *crossed(SPACINGS, CURVES),
        *BETAS,
        {"beta_schedule": "exp"},
        CLIPPED[0],
    ],
    "DPMSolverSDEScheduler": [
        *crossed(SPACINGS, predicted("epsilon", "v_prediction")),
        *crossed(SPACINGS, CURVES),
        *BETAS,
    ],
    "DDIMScheduler": [
        *crossed(SPACINGS, predicted(*PREDICTIONS), [{"clip_sample": False}]),
        *crossed(SPACINGS, CLIPPED),
        *crossed([{"set_alpha_to_one": False, "clip_sample": False}], SPACINGS),
        *crossed([{"clip_sample": False}], BETAS),
        {**ZERO_SNR, "clip_sample": False},
    ],
    "DDPMScheduler": [
        *crossed(SPACINGS, predicted(*PREDICTIONS), [{"clip_sample": False}]),
        *crossed(SPACINGS, CLIPPED),
        *crossed(
            [{"clip_sample": False}],
            [{"variance_type": kind} for kind in ("fixed_small_log", "fixed_large")],
            SPACINGS,
        ),
        *crossed([{"clip_sample": False}], BETAS),
        *crossed([{"clip_sample": False}], [{"beta_schedule": b} for b in ("laplace", "sigmoid")]),
        {**ZERO_SNR, "clip_sample": False},
    ],
    "PNDMScheduler": [
        *crossed(
            [{"skip_prk_steps": True}],
            SPACINGS,
            predicted("epsilon", "v_prediction"),
            [{"set_alpha_to_one": False}, {"set_alpha_to_one": True}],
        ),
        *crossed([{"skip_prk_steps": True}], BETAS),
    ],
    "DPMSolverMultistepScheduler": [
        *crossed(SPACINGS, predicted(*PREDICTIONS)),
        *crossed(
            each(
                algorithm_type=["dpmsolver++", "sde-dpmsolver++"],
                solver_order=[1, 2, 3],
                solver_type=["midpoint", "heun"],
            ),
            [{}, {"final_sigmas_type": "sigma_min"}],
        ),
        *crossed(
            each(algorithm_type=["dpmsolver"], solver_order=[1, 2, 3], solver_type=["midpoint"]),
            [{"final_sigmas_type": "sigma_min"}],
            predicted(*PREDICTIONS),
        ),
        *crossed(
            each(algorithm_type=["dpmsolver", "sde-dpmsolver"], solver_order=[1, 2]),
            each(solver_type=["midpoint", "heun"], final_sigmas_type=["sigma_min"]),
        ),
        *crossed(SPACINGS[:1], [*CURVES, {"use_lu_lambdas": True}]),
        *crossed(CURVES, [{"beta_schedule": "squaredcos_cap_v2"}, {"solver_order": 3}]),
        *crossed(
            each(lower_order_final=[True, False], euler_at_final=[True, False]),
            each(final_sigmas_type=["zero", "sigma_min"], solver_order=[2, 3]),
        ),
        *crossed([FLOW], each(flow_shift=[1.0, 3.0], solver_order=[2, 3])),
        {"use_flow_sigmas": True, "flow_shift": 2.0},
        {"algorithm_type": "deis", "solver_type": "logrho", "final_sigmas_type": "sigma_min"},
        *BETAS,
        ZERO_SNR,
        CLIPPED[1],
        *crossed([{"lambda_min_clipped": -5.1, "beta_schedule": "squaredcos_cap_v2"}], SPACINGS),
    ],
    "UniPCMultistepScheduler": [
        *crossed(SPACINGS, predicted(*PREDICTIONS)),
        *each(solver_order=[1, 2, 3]),
        *crossed(
            each(solver_order=[1, 2, 3], solver_type=["bh1", "bh2"], predict_x0=[True, False]),
            [{"final_sigmas_type": "sigma_min"}],
        ),
        *crossed(
            [{"predict_x0": False, "final_sigmas_type": "sigma_min"}], predicted(*PREDICTIONS)
        ),
        *crossed(CURVES, [{}, {"solver_order": 3}]),
        {"disable_corrector": [0, 3, 6], "solver_order": 3},
        {"lower_order_final": False, "final_sigmas_type": "sigma_min", "solver_order": 3},
        *crossed([FLOW], each(flow_shift=[1.0, 3.0], solver_order=[2, 3])),
        {**FLOW, "use_karras_sigmas": True},
        {"solver_type": "midpoint"},
        *BETAS,
        ZERO_SNR,
        CLIPPED[1],
    ],
    "LCMScheduler": [
        *predicted(*PREDICTIONS),
        *CLIPPED,
        {"original_inference_steps": 100},
        {"timestep_scaling": 5.0},
        *BETAS[:3],
        ZERO_SNR,
    ],
    "TCDScheduler": [
        *predicted(*PREDICTIONS),
        {"original_inference_steps": 100},
        *BETAS[:3],
        ZERO_SNR,
    ],
}
CASES = [(name, fields) for name, variants in VARIANTS.items() for fields in variants]


def label(value: object) -> str | None:
    if isinstance(value, dict):
        return ",".join(f"{k}={'…' if k == 'trained_betas' else v}" for k, v in value.items())
    return None


def assert_same(name: str, fields: Fields, tolerance: float = EXACT, **run: Any) -> None:
    gaps, _ = compare(name, fields, **run)
    assert gaps.timestep <= 1e-6, run
    assert gaps.model_input <= tolerance, run
    assert gaps.x <= tolerance, run


def test_the_grid_has_a_thousand_runs() -> None:
    assert len(CASES) * len(RUNS) >= 1000


@pytest.mark.parametrize(("name", "fields"), CASES, ids=label)
def test_a_table_is_its_scheduler_class_row_by_row(name: str, fields: Fields) -> None:
    rounds = name in ("DPMSolverSDEScheduler", "LCMScheduler")
    rounds |= fields.get("interpolation_type") == "log_linear"
    for steps, strength in RUNS:
        tolerance = ROUNDED if rounds else EXACT
        assert_same(name, SD | fields, tolerance, steps=steps, strength=strength)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_table_gives_what_its_scheduler_class_gives_in_float32(name: str) -> None:
    for (steps, strength), fields in product(RUNS, VARIANTS[name][:9]):
        gaps, _ = compare(name, SD | fields, steps=steps, strength=strength, precise=False)
        assert max(gaps.x, gaps.model_input) <= AS_IS, (fields, steps, strength)


@pytest.mark.parametrize("eta", [0.3, 1.0])
@pytest.mark.parametrize("name", ["DDIMScheduler", "TCDScheduler"])
def test_eta_is_ddims_eta_and_tcds_gamma(name: str, eta: float) -> None:
    for (steps, strength), spacing in product(RUNS, SPACINGS):
        fields = SD | spacing | ({"clip_sample": False} if name == "DDIMScheduler" else {})
        assert_same(name, fields, steps=steps, strength=strength, eta=eta)


FLOWS: list[Fields] = [
    *each(shift=[1.0, 3.0, 6.0]),
    {"shift": 3.0, "shift_terminal": 0.02},
    {"shift": 3.0, "stochastic_sampling": True},
    *crossed([{"shift": 3.0}], CURVES),
    {"num_train_timesteps": 500, "shift": 2.0},
]


@pytest.mark.parametrize("rounding", ["down", "up"])
@pytest.mark.parametrize("fields", FLOWS, ids=label)
def test_flow_euler_is_its_scheduler_class_with_both_roundings(
    fields: Fields, rounding: str
) -> None:
    for steps, strength in (*RUNS, (28, 0.6), (25, 0.56)):
        if steps == 1 and "shift_terminal" in fields:
            continue  # not a number in the reference; see test_schedule_edges
        assert_same(
            "FlowMatchEulerDiscreteScheduler",
            fields,
            ROUNDED,  # its timesteps and levels pass through float32 twice
            steps=steps,
            strength=strength,
            rounding=rounding,
        )


@pytest.mark.parametrize("kind", ["exponential", "linear"])
@pytest.mark.parametrize("tokens", [256, 1024, 4096])
def test_dynamic_shifting_follows_the_pictures_size(kind: str, tokens: int) -> None:
    # as StableDiffusion3Img2ImgPipeline's calculate_shift; only the flow class names max_shift
    def mu(max_shift: float) -> float:
        return 0.5 + (tokens - 256) * (max_shift - 0.5) / (4096 - 256)

    fields: Fields = {"use_dynamic_shifting": True, "time_shift_type": kind}
    for steps, strength in FEW_RUNS:
        run: Fields = {"steps": steps, "strength": strength, "options": {"image_tokens": tokens}}
        assert_same("FlowMatchEulerDiscreteScheduler", fields, ROUNDED, mu=mu(1.15), **run)
        if kind == "exponential":
            assert_same("UniPCMultistepScheduler", fields | FLOW, mu=mu(1.16), **run)
            assert_same("DPMSolverMultistepScheduler", fields | FLOW, mu=mu(1.16), **run)


def test_karras_timesteps_of_dpm_solver_round_as_the_reference_rounds() -> None:
    name = "DPMSolverMultistepScheduler"
    fields = SD | {"use_karras_sigmas": True}
    config = read_scheduler_config({"_class_name": name, **fields})
    reference = reference_scheduler(name, fields)
    for steps in range(1, 101):
        reference.set_timesteps(steps)
        rows = make_schedule(config, steps=steps, strength=1.0).rows
        assert [row.timestep for row in rows] == reference.timesteps.tolist()


def test_text_to_image_starts_from_the_references_init_noise_sigma() -> None:
    for name, spacing in product(VARIANTS, SPACINGS):
        fields = SD | spacing | ({"skip_prk_steps": True} if name == "PNDMScheduler" else {})
        reference = reference_scheduler(name, fields)
        reference.set_timesteps(20)
        schedule = make_schedule(
            read_scheduler_config({"_class_name": name, **fields}), steps=20, strength=None
        )
        assert schedule.initial == pytest.approx(float(reference.init_noise_sigma), rel=1e-6)
        assert schedule.skipped == 0


def test_the_latent_consistency_pipelines_own_strength_narrows_the_timesteps() -> None:
    for name in ("LCMScheduler", "TCDScheduler"):
        config = read_scheduler_config({"_class_name": name, **SD})
        for steps, strength in ((4, 0.5), (8, 0.8), (1, 0.3), (4, 1.0)):
            reference = reference_scheduler(name, SD)
            reference.set_timesteps(steps, strength=strength)
            ours = make_schedule(config, steps=steps, strength=strength, steps_mode="lcm")
            assert [row.timestep for row in ours.rows] == reference.timesteps.tolist()
            assert ours.executed == steps


def test_a_preview_is_the_references_predicted_picture() -> None:
    for name in ("EulerDiscreteScheduler", "DDIMScheduler", "HeunDiscreteScheduler"):
        fields = SD | ({"clip_sample": False} if name == "DDIMScheduler" else {})
        reference = reference_scheduler(name, fields)
        reference.set_timesteps(8)
        config = read_scheduler_config({"_class_name": name, **fields})
        schedule = make_schedule(config, steps=8, strength=1.0)
        x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        state, out = begin(schedule, x.numpy()), np.empty(SHAPE)
        with float64_throughout(reference):
            for row, t in zip(schedule.rows, reference.timesteps, strict=True):
                m = torch.tanh(reference.scale_model_input(x, t))
                x, predicted = reference.step(m, t, x, return_dict=False)
                advance(state, row, m.numpy())
                preview(state, row, out)
                np.testing.assert_allclose(out, predicted.numpy(), atol=1e-5)

"""A scheduler_config.json is honoured or refused by name, and a named sampler takes it over."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.schedule.diffusers_reference import compare, reference_scheduler, scheduler_class

from overpaint.bundle.errors import ManifestError, UsageError
from overpaint.runtime import schedule as schedule_package
from overpaint.runtime.schedule import (
    SAMPLERS,
    Schedule,
    SchedulerConfig,
    make_schedule,
    read_scheduler_config,
)

TRAINED = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}
SD15 = {
    "_class_name": "PNDMScheduler",
    "_diffusers_version": "0.6.0",
    **TRAINED,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
    "clip_sample": False,
}
SDXL = {
    "_class_name": "EulerDiscreteScheduler",
    "_diffusers_version": "0.19.0.dev0",
    **TRAINED,
    "clip_sample": False,
    "interpolation_type": "linear",
    "prediction_type": "epsilon",
    "sample_max_value": 1.0,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "trained_betas": None,
    "use_karras_sigmas": False,
}
SD21 = {
    "_class_name": "DDIMScheduler",
    "_diffusers_version": "0.8.0",
    **TRAINED,
    "clip_sample": False,
    "prediction_type": "v_prediction",
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
}
SD_TURBO = {
    "_class_name": "EulerDiscreteScheduler",
    **TRAINED,
    "interpolation_type": "linear",
    "prediction_type": "epsilon",
    "sample_max_value": 1.0,
    "set_alpha_to_one": False,
    "sigma_max": None,
    "sigma_min": None,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "timestep_spacing": "trailing",
    "timestep_type": "discrete",
    "trained_betas": None,
    "use_karras_sigmas": False,
}
DPM_KARRAS = {
    "_class_name": "DPMSolverMultistepScheduler",
    **TRAINED,
    "algorithm_type": "dpmsolver++",
    "euler_at_final": False,
    "final_sigmas_type": "zero",
    "lambda_min_clipped": float("-inf"),
    "lower_order_final": True,
    "prediction_type": "epsilon",
    "solver_order": 2,
    "solver_type": "midpoint",
    "thresholding": False,
    "timestep_spacing": "leading",
    "steps_offset": 1,
    "use_karras_sigmas": True,
    "variance_type": None,
}
DEIS = {
    "_class_name": "DEISMultistepScheduler",
    **TRAINED,
    "algorithm_type": "deis",
    "solver_type": "logrho",
    "steps_offset": 1,
    "use_karras_sigmas": False,
}
SD3 = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0, "num_train_timesteps": 1000}

FILES = {"sd15": SD15, "sdxl": SDXL, "sd21": SD21, "turbo": SD_TURBO, "dpm": DPM_KARRAS}

NAMED: dict[str, tuple[str, dict[str, Any]]] = {
    "euler": ("EulerDiscreteScheduler", {}),
    "euler-a": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "ddim": ("DDIMScheduler", {"clip_sample": False}),
    "ddpm": ("DDPMScheduler", {"clip_sample": False}),
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),
    "dpmpp-2m": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}),
    "dpmpp-2m-sde": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "dpmpp-3m": ("DPMSolverMultistepScheduler", {"solver_order": 3}),
    "dpmpp-sde": ("DPMSolverSDEScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "lcm": ("LCMScheduler", {}),
    "tcd": ("TCDScheduler", {}),
}


def schedule(fields: dict[str, Any], **arguments: Any) -> Schedule:
    wanted = {"steps": 20, "strength": 0.6, **arguments}
    return make_schedule(read_scheduler_config(fields), **wanted)


@pytest.mark.parametrize("sampler", NAMED)
@pytest.mark.parametrize("file", FILES)
def test_a_named_sampler_takes_a_config_over_as_from_config_does(file: str, sampler: str) -> None:
    fields = FILES[file]
    source = scheduler_class(str(fields["_class_name"])).from_config(fields)
    name, extra = NAMED[sampler]
    reference = scheduler_class(name).from_config(source.config, **extra)
    written = {k: v for k, v in fields.items() if k[0] != "_"}
    for steps, strength in ((20, 0.6), (9, 1.0)):
        gaps, _ = compare(
            str(fields["_class_name"]), written, steps=steps, strength=strength,
            scheduler=reference, options={"sampler": sampler},
        )  # fmt: skip
        assert max(gaps.timestep, gaps.model_input, gaps.x) <= 1e-6


def test_every_sampler_but_flow_runs_every_ordinary_file() -> None:
    for fields in (*FILES.values(), DEIS):
        for sampler in set(SAMPLERS) - {"default", "flow-euler"}:
            assert schedule(fields, sampler=sampler).rows


@pytest.mark.parametrize("sampler", ["dpmpp-2m", "dpmpp-2m-sde", "unipc"])
def test_solvers_run_a_flow_checkpoint_on_flow_sigmas(sampler: str) -> None:
    name, extra = NAMED[sampler]
    flow = {"use_flow_sigmas": True, "flow_shift": 3.0, "prediction_type": "flow_prediction"}
    source = reference_scheduler(SD3["_class_name"], {"shift": 3.0})  # type: ignore[arg-type]
    reference = scheduler_class(name).from_config(source.config, **extra, **flow)
    gaps, _ = compare(
        str(SD3["_class_name"]), {"shift": 3.0}, steps=20, strength=0.6, rounding="up",
        scheduler=reference, options={"sampler": sampler},
    )  # fmt: skip
    assert max(gaps.timestep, gaps.model_input, gaps.x) <= 1e-6


def test_a_config_is_read_from_a_file_a_folder_or_a_dictionary(tmp_path: Path) -> None:
    file = tmp_path / "scheduler_config.json"
    file.write_text(json.dumps(DPM_KARRAS))  # with diffusers' -Infinity in it
    from_file, from_folder = read_scheduler_config(file), read_scheduler_config(str(tmp_path))
    assert from_file == from_folder == read_scheduler_config(DPM_KARRAS)
    assert from_file.written["lambda_min_clipped"] == float("-inf")


def test_null_is_unwritten_and_takes_the_classs_default() -> None:
    config = read_scheduler_config(SDXL | {"timestep_spacing": None})
    assert "timestep_spacing" not in config.written
    assert make_schedule(config, steps=10, strength=1.0).rows[0].timestep == 999  # linspace


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"_class_name": "EDMEulerScheduler"}, ["EDMEulerScheduler", "EulerDiscreteScheduler"]),
        ({**SD15, "sigma_data": 0.5}, ["sigma_data", "sigma_min"]),
        (
            {**SD15, "beta_schedule": "cubic"},
            ["cubic", "beta_schedule", "scaled_linear", "sigmoid"],
        ),
        (
            {**SD15, "prediction_type": "noise"},
            ["noise", "prediction_type", "epsilon", "v_prediction"],
        ),
        ({**DPM_KARRAS, "solver_order": 4}, ["4", "solver_order", "1, 2, 3"]),
        ({**DPM_KARRAS, "variance_type": "big"}, ["big", "variance_type", "fixed_small"]),
        ({**DPM_KARRAS, "solver_p": {}}, ["solver_p", "null"]),
        ({**SD15, "num_train_timesteps": 0}, ["num_train_timesteps", ">= 1", "got 0"]),
        ({**SD15, "clip_sample": "no"}, ["clip_sample", "true or false", 'got "no"']),
        ({"beta_start": 0.1}, ["_class_name"]),
        ({**SD15, "num_train_timesteps": 10**9}, ["num_train_timesteps", "<= 10000", "1000000000"]),
        ({**SD15, "num_train_timesteps": True}, ["num_train_timesteps", "whole", "true"]),
        ({**SD15, "beta_end": -5}, ["beta_end", "> 0, < 1", "got -5"]),
        ({**SD15, "beta_start": float("nan")}, ["beta_start", "finite", "nan"]),
        ({**SD15, "beta_end": 10**400}, ["beta_end", "out of range"]),
        ({**SD15, "beta_schedule": ["linear"]}, ["beta_schedule", '["linear"]']),
        ({**SD15, "trained_betas": [0.1, 2.0]}, ["trained_betas[1]", "<= 1", "2.0"]),
        ({**SD15, "trained_betas": [float("nan")] * 1000}, ["trained_betas", "nan"]),
        ({**SD15, "trained_betas": [0.1] * 999}, ["trained_betas", "1000 values", "got 999"]),
        ({**SD15, "steps_offset": 10**12}, ["steps_offset", "<= 10000"]),
        ({**DPM_KARRAS, "sigma_min": 3, "sigma_max": 2}, ["sigma_min", "less than sigma_max, 2"]),
        ({**DPM_KARRAS, "lambda_min_clipped": float("inf")}, ["lambda_min_clipped", "finite"]),
        ({**DPM_KARRAS, "disable_corrector": [-1]}, ["disable_corrector[0]", ">= 0"]),
        ({**SD3, "shift": 1e300}, ["shift", "<= 1e+06"]),
        ({**SD3, "max_shift": 1e300}, ["max_shift", "<= 100"]),
        ({**SD3, "max_image_seq_len": 256}, ["base_image_seq_len", "max_image_seq_len, 256"]),
        ({**SD3, "shift_terminal": 1}, ["shift_terminal", "< 1"]),
    ],
)
def test_what_a_config_says_and_we_do_not_know_is_refused_by_name(
    fields: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(ManifestError) as refused:
        read_scheduler_config(fields)
    assert all(word in str(refused.value) for word in words)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", ["exponential", "linear"])
@pytest.mark.parametrize("shift", [-100, 100])
def test_a_shift_that_grows_with_the_picture_beyond_all_numbers_is_refused(
    kind: str, shift: float
) -> None:
    steep = {"max_shift": shift, "base_image_seq_len": 256, "max_image_seq_len": 257}
    fields = {**SD3, "use_dynamic_shifting": True, "time_shift_type": kind, **steep}
    with pytest.raises(UsageError, match="a picture of 4096 tokens by"):
        schedule(fields, image_tokens=4096)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "\x00\xff", "[" * 100_000, '{"a": 0, "a": 0}', '{"a": NaN}']
)
def test_a_file_that_is_no_json_object_is_refused_in_one_line(tmp_path: Path, content: str) -> None:
    file = tmp_path / "scheduler_config.json"
    file.write_text(content, "utf-8")
    with pytest.raises(ManifestError, match=r"scheduler_config\.json: ") as refused:
        read_scheduler_config(file)
    assert "\n" not in str(refused.value)
    with pytest.raises(ManifestError, match="cannot be read"):
        read_scheduler_config(tmp_path / "absent.json")


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({**SD15, "skip_prk_steps": False}, "skip_prk_steps"),
        ({**SD15, "prediction_type": "sample"}, "sample"),
        ({**DPM_KARRAS, "variance_type": "learned_range"}, "learned_range"),
        ({**DPM_KARRAS, "use_beta_sigmas": True}, "use_beta_sigmas"),
        ({**DPM_KARRAS, "algorithm_type": "dpmsolver"}, "sigma_min"),
        ({**DPM_KARRAS, "prediction_type": "flow_prediction"}, "use_flow_sigmas"),
        ({**DPM_KARRAS, "use_flow_sigmas": True}, "flow sigmas"),
        ({**SD15, "_class_name": "DDPMScheduler", "variance_type": "fixed_large_log"}, "fixed_l"),
        ({**SD15, "_class_name": "DDPMScheduler", "variance_type": "learned"}, "learned"),
        ({**SD15, "_class_name": "DPMSolverSDEScheduler", "noise_sampler_seed": 7}, "noise_sample"),
        ({**SD3, "invert_sigmas": True}, "invert_sigmas"),
        (DEIS, "DEISMultistepScheduler"),
    ],
)
def test_what_a_sampler_cannot_do_is_refused_by_name(fields: dict[str, Any], word: str) -> None:
    with pytest.raises(UsageError) as refused:
        schedule(fields)
    assert word in str(refused.value)


def test_a_checkpoint_with_an_unsupported_scheduler_runs_once_a_sampler_is_named() -> None:
    with pytest.raises(UsageError, match="dpmpp-2m"):
        schedule(DEIS)
    assert schedule(DEIS, sampler="dpmpp-2m").executed == 12


@pytest.mark.parametrize("sampler", ["euler", "ddim", "pndm", "heun", "lcm"])
def test_a_flow_checkpoint_refuses_samplers_without_flow_levels(sampler: str) -> None:
    with pytest.raises(UsageError, match=r"dpmpp-2m.*flow-euler.*unipc"):
        schedule(SD3, sampler=sampler)
    with pytest.raises(UsageError, match="PNDMScheduler"):
        schedule(SD15, sampler="flow-euler")


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    for choice in ("sampler", "sigmas", "steps_mode"):
        with pytest.raises(UsageError, match=f"{choice}: expected one of default|diffusers"):
            schedule(SD15, **{choice: "best"})
    with pytest.raises(UsageError, match=r"pndm has no karras sigmas.*dpmpp-2m.*heun"):
        schedule(SD15, sigmas="karras")


def test_named_sigmas_replace_the_files() -> None:
    karras, beta = (schedule(DPM_KARRAS, sigmas=sigmas) for sigmas in ("karras", "beta"))
    assert karras == schedule(DPM_KARRAS)
    assert beta != karras


def test_clipping_is_off_unless_the_file_says_so() -> None:
    ddim = {"_class_name": "DDIMScheduler", **TRAINED}
    assert schedule(ddim).clip is None
    clip = schedule({**ddim, "clip_sample": True}).clip
    assert clip is not None
    assert (clip.kind, clip.limit) == ("range", 1.0)


def test_what_a_file_asks_for_in_vain_is_reported() -> None:
    assert schedule(DPM_KARRAS, sampler="ddim").ignored == ("use_karras_sigmas=True",)
    clipping = {**SD21, "clip_sample": True}
    assert schedule(clipping).ignored == ()
    assert schedule(clipping, sampler="tcd").ignored == ("clip_sample=True",)
    assert all(schedule(fields).ignored == () for fields in FILES.values())


def test_a_named_sampler_is_what_its_name_says_whatever_the_file_says() -> None:
    third = {**DPM_KARRAS, "solver_order": 3}
    assert schedule(third, sampler="dpmpp-2m") == schedule(DPM_KARRAS)
    assert schedule(third).rows == schedule(third, sampler="dpmpp-3m").rows
    assert schedule(third).depth == 3


def test_a_schedule_says_by_which_name_its_sampler_goes() -> None:
    assert schedule(SD15).sampler == "pndm"
    assert schedule(SD15, sampler="heun").sampler == "heun"
    sde = {**DPM_KARRAS, "algorithm_type": "sde-dpmsolver++", "solver_order": 3}
    assert schedule(sde).sampler == "dpmpp-3m-sde"
    first = {**DPM_KARRAS, "solver_order": 1}
    assert schedule(first).sampler == "DPMSolverMultistepScheduler"


THIRTEENTH = """
from overpaint.runtime.schedule.levels import exploding
from overpaint.runtime.schedule.sampler import LINSPACE, TRAINED, Run, Sampler, x0_row


def overshoot(run):
    return [x0_row(run, i, a=0, b=(1,)) for i in run.steps]


SAMPLERS = (
    Sampler(
        name="overshoot",
        scheduler="OvershootScheduler",
        fields=TRAINED | LINSPACE,
        levels=exploding,
        rows=overshoot,
        finite=True,
    ),
)
"""


def test_another_sampler_is_one_file_and_nothing_else(tmp_path: Path) -> None:
    ours = Path(schedule_package.__file__).parent
    copied = tmp_path / "overpaint" / "runtime"
    shutil.copytree(ours, copied / "schedule")
    shutil.copy(ours.parent / "choices.py", copied)
    (copied / "__init__.py").touch()
    (copied / "schedule" / "samplers" / "overshoot.py").write_text(THIRTEENTH)
    script = """
from overpaint.runtime.schedule import SAMPLERS, make_schedule, read_scheduler_config

config = read_scheduler_config({"_class_name": "OvershootScheduler"})
assert "overshoot" in SAMPLERS
for sampler in ("default", "overshoot"):
    rows = make_schedule(config, steps=4, strength=1.0, sampler=sampler).rows
    assert [(row.a, row.b) for row in rows] == [(0, (1,))] * 4
"""
    path = os.environ | {"PYTHONPATH": str(tmp_path)}
    subprocess.run([sys.executable, "-c", script], check=True, env=path)


def test_configs_are_values() -> None:
    config = read_scheduler_config(SD15)
    assert isinstance(config, SchedulerConfig)
    with pytest.raises(TypeError):
        config.written["steps_offset"] = 0  # type: ignore[index]

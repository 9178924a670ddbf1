"""The trained networks as a diffusers folder: what `overpaint export` takes."""

import json
import shutil
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextModel, CLIPTokenizer

from pocket.denoiser import BETAS


def write_checkpoint(
    folder: Path,
    vae: AutoencoderKL,
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    tokenizer_folder: Path,
) -> None:
    """Half precision, safetensors; written beside `folder`, then put in its place."""
    scheduler = DPMSolverMultistepScheduler(
        num_train_timesteps=1000,
        **BETAS,
        algorithm_type="dpmsolver++",
        solver_order=2,
        timestep_spacing="linspace",
        steps_offset=1,
    )
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=CLIPTokenizer.from_pretrained(tokenizer_folder),
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    pipeline.to(dtype=torch.float16).save_pretrained(part)
    for config in part.rglob("*config.json"):
        _plain_json(config)
    for name in ("vocab.json", "merges.txt", "special_tokens_map.json"):
        shutil.copyfile(tokenizer_folder / name, part / "tokenizer" / name)
    for file in part.rglob("*.safetensors"):
        file.chmod(0o644)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)


def _plain_json(config: Path) -> None:
    """Drop where the network was read from, and the one value that JSON cannot hold: the default,
    minus infinity, of a clip."""
    values = json.loads(config.read_text())
    for name in ("_name_or_path", "lambda_min_clipped"):
        values.pop(name, None)
    config.write_text(json.dumps(values, indent=2, allow_nan=False) + "\n")

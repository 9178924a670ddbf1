"""The trained networks as a diffusers folder: what `overpaint export` takes."""

import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, StableDiffusionPipeline
from transformers import CLIPTokenizer

from pocket.denoiser import BETAS, Denoiser


def write_checkpoint(
    folder: Path, vae: AutoencoderKL, denoiser: Denoiser, tokenizer: CLIPTokenizer
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
        text_encoder=denoiser.text_encoder,
        tokenizer=tokenizer,
        unet=denoiser.unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    pipeline.to(dtype=torch.float16).save_pretrained(part)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)

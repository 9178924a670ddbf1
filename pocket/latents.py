"""The data set as the denoiser sees it: each scene's posterior, computed once."""

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor

CHUNK = 64


def to_pixels(pictures: NDArray[np.uint8], device: torch.device) -> Tensor:
    """(B, H, W, 3) uint8 to (B, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.array(pictures)).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1.0


@torch.no_grad()
def whiten(vae: AutoencoderKL, pictures: NDArray[np.uint8]) -> None:
    """Give each latent channel mean 0 and deviation 1 over `pictures`, inside the two 1x1
    convolutions next to the latents, so that the scaling factor is 1 and no shift is needed."""
    device = vae.device
    means = [
        vae.encode(to_pixels(pictures[k : k + CHUNK], device)).latent_dist.mean
        for k in range(0, len(pictures), CHUNK)
    ]
    latents = torch.cat(means)
    mean, std = latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3))
    channels = len(mean)
    into, out = vae.quant_conv, vae.post_quant_conv
    into.weight[:channels] /= std[:, None, None, None]
    into.bias[:channels] = (into.bias[:channels] - mean) / std
    into.bias[channels:] -= 2 * std.log()
    out.bias += out.weight[:, :, 0, 0] @ mean
    out.weight *= std[None, :, None, None]
    vae.register_to_config(scaling_factor=1.0)


@torch.no_grad()
def encoded(path: Path, vae: AutoencoderKL, pictures: NDArray[np.uint8]) -> NDArray[np.float16]:
    """(N, 8, 32, 32) float16: the posterior's mean and standard deviation of every picture.

    Goes on from the last whole chunk where a run was cut off.
    """
    if not path.exists():
        part, mark = path.with_suffix(".part"), path.with_suffix(".done")
        first = int(mark.read_text()) if mark.exists() and part.exists() else 0
        shape = (len(pictures), 2 * vae.config["latent_channels"], 32, 32)
        mode = "r+" if first else "w+"
        moments = open_memmap(part, mode=mode, dtype=np.float16, shape=shape)
        for k in track(range(first, len(pictures), CHUNK), "encoding"):
            with torch.autocast(vae.device.type, torch.bfloat16):
                pixels = to_pixels(pictures[k : k + CHUNK], vae.device)
                posterior = vae.encode(pixels).latent_dist
            both = torch.cat([posterior.mean, posterior.std], dim=1).float()
            moments[k : k + CHUNK] = both.cpu().numpy()
            moments.flush()
            mark.write_text(str(k + CHUNK))
        part.rename(path)
        mark.unlink()
    stored: NDArray[np.float16] = np.load(path)
    return stored

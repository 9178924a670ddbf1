"""`python -m pocket.control`: the embedded model's ControlNet, which keeps a picture's edges.

Trained as the student is (`pocket.distil`), with the student at rest. Beside it the network sees
the edges of the picture that a run starts from, and the run ends in the same place at another time
of another season: so it learns where everything was, and nothing else (Zhang et al., 2023). Goes
on from pocket/runs, and writes what there is so far with `--write`.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from numpy.typing import NDArray
from PIL import Image
from rich.progress import track
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTokenizer

from overpaint.runtime.control.canny import canny
from pocket import distil
from pocket.data import painted
from pocket.latents import encoded
from pocket.loop import Batch, Stage, load_average, train
from pocket.train import of_one_stage, shipped

HINT_WIDTHS = (16, 32, 64)
"""Of the layers that bring a map down to a latent's size, halving it at each but the first."""

HINT = "controlnet_cond_embedding."
"""What the names of those layers begin with."""


def new_controlnet(unet: UNet2DConditionModel) -> ControlNetModel:
    """A copy of the denoiser's first half, whose outputs are zero (Zhang et al., 2023)."""
    return ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=HINT_WIDTHS)


class Controlled(nn.Module):
    """The student at rest, the network that steers it, and the critic of what they make."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.controlnet = new_controlnet(unet)
        self.student = distil.Student(unet.requires_grad_(False))


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """What the student is trained on, and every scene's edges and its counterpart's, (N, 128, 16)
    bytes of eight pixels."""

    pairs: distil.Data
    edges: NDArray[np.uint8]
    of_counterparts: NDArray[np.uint8]


def loss(model: nn.Module, hints: Tensor, *parts: Tensor) -> dict[str, Tensor]:
    """`distil.loss` of the steered student; `hints` (B, 3, 128, 128) in [0, 1], the first of which
    belong to the first that it is asked about."""
    assert isinstance(model, Controlled)

    def steered(noisy: Tensor, times: Tensor, context: Tensor) -> SimpleNamespace:
        down, middle = model.controlnet(
            noisy, times, context, controlnet_cond=hints[: len(noisy)], return_dict=False
        )
        made: SimpleNamespace = model.student.unet(
            noisy,
            times,
            context,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
        )
        return made

    return distil.judged_ends(steered, model.student.critic, *parts)


def batch(data: Data, rng: np.random.Generator, done: float) -> Batch:
    """Pairs under noise, and the edges that they start from."""
    rows, swapped = distil.places(data.pairs, rng)
    packed = np.where(swapped[:, None, None], data.edges[rows], data.of_counterparts[rows])
    lines = torch.from_numpy(np.unpackbits(packed, axis=2)).float()[:, None].repeat(1, 3, 1, 1)
    return lines, *distil.noised(data.pairs, (rows, swapped), rng)


def _edges(path: Path, pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if not path.exists():
        lines = [
            np.packbits(np.asarray(canny(Image.fromarray(picture))) > 0, axis=1)
            for picture in track(pictures, "edges")
        ]
        np.save(path, np.stack(lines))
    stored: NDArray[np.uint8] = np.load(path)
    return stored


def main() -> None:
    options = of_one_stage(__doc__, minutes=45)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    autoencoder, unet, text_encoder = (network.eval() for network in shipped())
    controlled = Controlled(unet)
    if not options.write:
        pictures = painted(options.runs, options.scenes, options.threads)
        others = painted(options.runs, options.scenes, options.threads, counterparts=True)
        pairs = distil.Data(
            moments=encoded(options.runs / "latents.npy", autoencoder, pictures),
            counterparts=encoded(options.runs / "counterparts.npy", autoencoder, others),
            tokenizer=CLIPTokenizer.from_pretrained(options.runs / "tokenizer"),
            text_encoder=text_encoder.requires_grad_(False),
            device=autoencoder.device,
        )
        data = Data(
            pairs=pairs,
            edges=_edges(options.runs / "edges.npy", pictures),
            of_counterparts=_edges(options.runs / "counterparts-edges.npy", others),
        )
        train(
            Stage(
                name="control",
                minutes=options.minutes,
                rate=5e-4,
                decay=0.5,
                ema=0.99,
                warm_up=40,
                seed=options.seed + 6,
            ),
            controlled,
            lambda rng, done: batch(data, rng, done),
            loss,
            options.runs,
        )
    load_average(controlled, options.runs / "control.pt")
    folder = options.runs / "edges"
    save(controlled.controlnet.half(), folder)
    print(f"wrote {folder}")


def save(network: ControlNetModel, folder: Path) -> None:
    """As diffusers saves it, but in two files, what the hint's graph reads and what the network's
    does: a bundle's components bring the files that they read, and so it has no byte twice."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    network.save_config(folder)
    weights = network.state_dict()
    of_hint = {name: tensor for name, tensor in weights.items() if name.startswith(HINT)}
    others = {name: tensor for name, tensor in weights.items() if name not in of_hint}
    files: dict[str, str] = {}
    for number, part in enumerate((of_hint, others), 1):
        file = f"diffusion_pytorch_model-{number:05d}-of-00002.safetensors"
        save_file(part, folder / file, metadata={"format": "pt"})
        files |= dict.fromkeys(part, file)
    index = json.dumps({"metadata": {}, "weight_map": files}, indent=2)
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(index)


if __name__ == "__main__":
    main()

"""`python -m pocket.lora`: the embedded model's LoRA, which paints in ink (`pocket.ink`).

Trained as the student is, but runs end in the place drawn in ink: a style that the prompt does not
name, so that the LoRA's weight alone says how much of it there is. Attention and convolutions both
have branches (LoCon): lines are made at resolutions where this UNet has no attention. Goes on from
pocket/runs, and writes what there is so far with `--write`.
"""

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from numpy.typing import NDArray
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from transformers import CLIPTokenizer

from pocket import distil
from pocket.data import painted
from pocket.ink import in_ink
from pocket.latents import encoded
from pocket.loop import Stage, load_average, train
from pocket.train import of_one_stage, shipped

RANK = 8
BRANCHED = ("to_q", "to_k", "to_v", "to_out.0", "conv1", "conv2", "conv_in", "conv_out")
TARGET = Path(__file__).parents[1] / "runtime/overpaint/runtime/embedded_loras/ink.safetensors"


def main() -> None:
    options = of_one_stage(__doc__, minutes=40)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    autoencoder, unet, text_encoder = (network.eval() for network in shipped())
    unet.requires_grad_(False)
    config = LoraConfig(r=RANK, lora_alpha=RANK, target_modules=list(BRANCHED))
    unet.add_adapter(config)
    branched = distil.Student(unet)
    if not options.write:
        pictures = painted(options.runs, options.scenes, options.threads)
        others = painted(options.runs, options.scenes, options.threads, counterparts=True)
        data = distil.Data(
            moments=encoded(options.runs / "latents.npy", autoencoder, pictures),
            counterparts=encoded(options.runs / "counterparts.npy", autoencoder, others),
            ends=(
                _encoded_in_ink(options.runs / "latents-in-ink.npy", autoencoder, pictures),
                _encoded_in_ink(options.runs / "counterparts-in-ink.npy", autoencoder, others),
            ),
            tokenizer=CLIPTokenizer.from_pretrained(options.runs / "tokenizer"),
            text_encoder=text_encoder.requires_grad_(False),
            device=autoencoder.device,
        )
        train(
            Stage(
                name="ink",
                minutes=options.minutes,
                rate=2e-3,
                decay=0.5,
                ema=0.99,
                warm_up=40,
                seed=options.seed + 5,
            ),
            branched,
            lambda rng, done: distil.batch(data, rng, done),
            distil.loss,
            options.runs,
        )
    load_average(branched, options.runs / "ink.pt")
    TARGET.parent.mkdir(exist_ok=True)
    StableDiffusionPipeline.save_lora_weights(
        TARGET.parent,
        unet_lora_layers={
            name: tensor.half().contiguous()
            for name, tensor in get_peft_model_state_dict(unet).items()
        },
        weight_name=TARGET.name,
    )
    print(f"wrote {TARGET}, {TARGET.stat().st_size / 1e6:.2f} MB")


def _encoded_in_ink(
    path: Path, autoencoder: AutoencoderKL, pictures: NDArray[np.uint8]
) -> NDArray[np.float16]:
    if path.exists():
        stored: NDArray[np.float16] = np.load(path)
        return stored
    return encoded(path, autoencoder, np.stack([in_ink(picture) for picture in pictures]))


if __name__ == "__main__":
    main()

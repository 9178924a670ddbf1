"""`python -m pocket.train`: paint, train the autoencoder and the denoiser, make both fast, sharpen
the decoder, write a checkpoint.

Every stage keeps its state in pocket/runs and goes on from there, also after being killed.
`--shipped` begins with the embedded bundle's networks and trains the student and the decoder
alone. `--write` writes the checkpoint from what there is so far, and trains nothing.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from numpy.typing import NDArray
from transformers import CLIPTextModel, CLIPTokenizer

from overpaint.runtime.default_bundle import EMBEDDED
from pocket.checkpoint import write_checkpoint
from pocket.data import painted
from pocket.ink import in_ink
from pocket.latents import encoded, whiten
from pocket.loop import Stage, load_average, train
from pocket.tokenizer import write_tokenizer

from . import denoiser, distil, sharpen, small_vae, vae

RUNS = Path(__file__).parent / "runs"
IN_INK = 4
"""Every fourth picture that the decoder is sharpened with is in ink, the embedded LoRA's style."""


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    write_tokenizer(options.runs / "tokenizer")
    networks = shipped() if options.shipped else _taught(options)
    autoencoder, unet, text_encoder = (n.to(options.device).eval() for n in networks)
    student, sharpened = distil.Student(unet), sharpen.Sharpened(autoencoder)
    if not options.write:
        if options.student_minutes:
            _distil(options, student, autoencoder, text_encoder)
        _sharpen(options, sharpened)
    for network, name in ((student, "student"), (sharpened, "decoder")):
        if (options.runs / f"{name}.pt").exists():
            load_average(network, options.runs / f"{name}.pt")
    folder = options.runs / "checkpoint"
    write_checkpoint(folder, autoencoder, unet, text_encoder, options.runs / "tokenizer")
    print(f"wrote {folder}")


Networks = tuple[AutoencoderKL, UNet2DConditionModel, CLIPTextModel]


def shipped() -> Networks:
    """The embedded bundle's: a bundle keeps a checkpoint's weights under their own names."""
    parts = (
        (AutoencoderKL, "vae_decoder"),
        (UNet2DConditionModel, "unet"),
        (CLIPTextModel, "text_encoder"),
    )
    return tuple(
        network.from_pretrained(EMBEDDED / part, torch_dtype=torch.float32)
        for network, part in parts
    )


def _taught(options: argparse.Namespace) -> Networks:
    """From nothing: an autoencoder, a denoiser of its latents, and a smaller autoencoder."""
    runs: Path = options.runs
    tokenizer = CLIPTokenizer.from_pretrained(runs / "tokenizer")
    first, small = vae.new_vae().to(options.device), small_vae.new_small_vae().to(options.device)
    model = denoiser.Denoiser(len(tokenizer)).to(options.device)
    pictures = painted(runs, options.scenes, options.threads)
    if not options.write:
        train(
            Stage(name="vae", minutes=options.vae_minutes, rate=4e-4, decay=0.5, seed=options.seed),
            first,
            lambda rng, done: vae.batch(pictures, rng, first.device, done),
            vae.loss,
            runs,
        )
    load_average(first, runs / "vae.pt")
    whiten(first, pictures[:512])
    if not options.write:
        moments, counterparts = _moments(options, first)
        data = denoiser.Data(
            moments=moments, counterparts=counterparts, tokenizer=tokenizer, device=first.device
        )
        train(
            Stage(
                name="denoiser",
                minutes=options.unet_minutes,
                rate=6e-4,
                decay=0.35,
                ema=0.997,
                seed=options.seed + 1,
            ),
            model,
            lambda rng, done: denoiser.batch(data, rng, done),
            denoiser.loss,
            runs,
        )
        copied = small_vae.Data(pictures=pictures, moments=moments, device=first.device)
        train(
            Stage(
                name="small-vae",
                minutes=options.small_vae_minutes,
                rate=2e-3,
                decay=0.6,
                ema=0.995,
                seed=options.seed + 2,
            ),
            small,
            lambda rng, done: small_vae.batch(copied, rng, done),
            small_vae.loss,
            runs,
        )
    load_average(model, runs / "denoiser.pt")
    load_average(small, runs / "small-vae.pt")
    return small, model.unet, model.text_encoder


def _distil(
    options: argparse.Namespace,
    student: distil.Student,
    autoencoder: AutoencoderKL,
    text_encoder: CLIPTextModel,
) -> None:
    moments, counterparts = _moments(options, autoencoder)
    data = distil.Data(
        moments=moments,
        counterparts=counterparts,
        tokenizer=CLIPTokenizer.from_pretrained(options.runs / "tokenizer"),
        text_encoder=text_encoder.requires_grad_(False),
        device=autoencoder.device,
    )
    train(
        Stage(
            name="student",
            minutes=options.student_minutes,
            rate=2e-4,
            decay=0.4,
            ema=0.998,
            seed=options.seed + 3,
        ),
        student,
        lambda rng, done: distil.batch(data, rng, done),
        distil.loss,
        options.runs,
    )


def _sharpen(options: argparse.Namespace, sharpened: sharpen.Sharpened) -> None:
    pictures = np.array(painted(options.runs, options.scenes, options.threads))
    pictures[::IN_INK] = [in_ink(picture) for picture in pictures[::IN_INK]]
    data = small_vae.Data(
        pictures=pictures,
        moments=encoded(options.runs / "latents-some-in-ink.npy", sharpened.vae, pictures),
        device=sharpened.vae.device,
    )
    train(
        Stage(
            name="decoder",
            minutes=options.decoder_minutes,
            rate=5e-4,
            decay=0.4,
            ema=0.995,
            seed=options.seed + 4,
        ),
        sharpened,
        lambda rng, done: small_vae.batch(data, rng, done),
        sharpen.loss,
        options.runs,
    )


def _moments(
    options: argparse.Namespace, autoencoder: AutoencoderKL
) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
    """Every scene's, and those of the counterparts: what the first autoencoder that asks makes of
    them, the small one's latents being the same."""
    runs: Path = options.runs
    pictures = painted(runs, options.scenes, options.threads)
    others = painted(runs, options.pairs, options.threads, counterparts=True)
    return (
        encoded(runs / "latents.npy", autoencoder, pictures),
        encoded(runs / "counterparts.npy", autoencoder, others),
    )


def of_one_stage(doc: str | None, *, minutes: float) -> argparse.Namespace:
    """The options of what trains one more network beside the shipped ones."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--runs", type=Path, default=RUNS)
    parser.add_argument("--scenes", type=int, default=4096)
    parser.add_argument("--minutes", type=float, default=minutes)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true")
    return parser.parse_args()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=RUNS)
    parser.add_argument("--scenes", type=int, default=16384)
    parser.add_argument("--pairs", type=int, default=4096, help="scenes painted twice")
    parser.add_argument("--vae-minutes", type=float, default=36)
    parser.add_argument("--unet-minutes", type=float, default=70)
    parser.add_argument("--small-vae-minutes", type=float, default=40)
    parser.add_argument("--student-minutes", type=float, default=60)
    parser.add_argument("--decoder-minutes", type=float, default=45)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shipped", action="store_true")
    parser.add_argument("--write", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()

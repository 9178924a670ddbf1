"""`python -m pocket.train`: paint, train the autoencoder, train the denoiser, write a checkpoint.

Every stage keeps its state in pocket/runs and goes on from there, also after being killed.
`--write` writes the checkpoint from what there is so far, and trains nothing.
"""

import argparse
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from transformers import CLIPTokenizer

from pocket.checkpoint import write_checkpoint
from pocket.data import painted
from pocket.latents import encoded, whiten
from pocket.loop import Stage, load_average, train
from pocket.tokenizer import write_tokenizer

from . import denoiser, vae

RUNS = Path(__file__).parent / "runs"


def main() -> None:
    options = _options()
    runs: Path = options.runs
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    device = torch.device(options.device)
    vocabulary = write_tokenizer(runs / "tokenizer")
    tokenizer = CLIPTokenizer.from_pretrained(runs / "tokenizer")
    autoencoder, model = vae.new_vae().to(device), denoiser.Denoiser(vocabulary).to(device)

    if not options.write:
        _train(options, device, autoencoder, model, tokenizer)
    load_average(autoencoder, runs / "vae.pt")
    load_average(model, runs / "denoiser.pt")
    whiten(autoencoder, painted(runs, options.scenes, options.threads)[:512])
    write_checkpoint(runs / "checkpoint", autoencoder, model, runs / "tokenizer")
    print(f"wrote {runs / 'checkpoint'}")


def _train(
    options: argparse.Namespace,
    device: torch.device,
    autoencoder: AutoencoderKL,
    model: denoiser.Denoiser,
    tokenizer: CLIPTokenizer,
) -> None:
    runs: Path = options.runs
    pictures = painted(runs, options.scenes, options.threads)
    train(
        Stage(name="vae", minutes=options.vae_minutes, rate=4e-4, decay=0.5, seed=options.seed),
        autoencoder,
        lambda rng, done: vae.batch(pictures, rng, device, done),
        vae.loss,
        runs,
    )
    load_average(autoencoder, runs / "vae.pt")
    whiten(autoencoder, pictures[:512])
    others = painted(runs, options.pairs, options.threads, counterparts=True)
    data = denoiser.Data(
        moments=encoded(runs / "latents.npy", autoencoder, pictures),
        counterparts=encoded(runs / "counterparts.npy", autoencoder, others),
        tokenizer=tokenizer,
        device=device,
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


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=RUNS)
    parser.add_argument("--scenes", type=int, default=16384)
    parser.add_argument("--pairs", type=int, default=4096, help="scenes painted twice")
    parser.add_argument("--vae-minutes", type=float, default=36)
    parser.add_argument("--unet-minutes", type=float, default=70)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()

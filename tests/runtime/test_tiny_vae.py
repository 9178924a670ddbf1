"""A tiny autoencoder beside a bundle's own: read as published, and diffusers' pixels."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
import torch
from diffusers import AutoencoderTiny
from PIL import Image
from safetensors.torch import load_file, save_file

from overpaint.bundle.checkpoint.bind import bind_into
from overpaint.bundle.checkpoint.match import resolve
from overpaint.bundle.checkpoint.tensors import folder_tensors
from overpaint.bundle.errors import CheckpointError, UsageError
from overpaint.bundle.facts import Latents
from overpaint.bundle.graph.weights import slots
from overpaint.bundle.tiny_vae.file import read_tiny_vae
from overpaint.bundle.tiny_vae.graphs import decoder, encoder
from overpaint.cli import main
from overpaint.runtime import Img2Img, Step
from overpaint.runtime.metadata import read_parameters

EXAMPLE = Path(__file__).parents[2] / "examples" / "summer.png"
PROMPT = "winter mountains"
FITTING: dict[str, Any] = {  # the embedded model's latents: 4 channels at a quarter of the sides
    "encoder_block_out_channels": (16, 16, 16),
    "decoder_block_out_channels": (16, 16, 16),
    "num_encoder_blocks": (1, 2, 2),
    "num_decoder_blocks": (2, 2, 1),
}


def tiny(**config: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AutoencoderTiny(**config).eval()


@pytest.fixture(scope="module")
def net() -> Any:
    return tiny(**FITTING)


@pytest.fixture(scope="module")
def folder(net: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("tiny") / "taesd"
    net.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def pipe(folder: Path) -> Iterator[Img2Img]:
    with Img2Img.open(tiny_vae=folder, device="cpu") as opened:
        yield opened


def round_trip(net: Any, picture: Image.Image) -> npt.NDArray[np.int64]:
    x = torch.from_numpy(np.asarray(picture, np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
    with torch.no_grad():
        y = net.decode(net.encode(x).latents).sample[0].permute(1, 2, 0).numpy()
    rounded: npt.NDArray[np.int64] = np.rint((y.clip(-1, 1) / 2 + 0.5) * 255).astype(np.int64)
    return rounded


def run_graph(
    path: Path, made: tuple[bytes, Any], tensors: Any, feed: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    template, component = made
    wanted = slots(template)
    path.mkdir()
    bind_into(path, template, wanted, resolve(wanted, folder_tensors(tensors)).found, "auto", {})
    session = onnxruntime.InferenceSession(path / "model.onnx")
    [out] = session.run(None, {component.inputs[0].name: feed})
    result: npt.NDArray[np.float32] = out
    return result


def test_a_picture_passes_it_as_it_passes_diffusers(pipe: Img2Img, net: Any) -> None:
    picture = Image.open(EXAMPLE).convert("RGB")
    ours = pipe(picture, PROMPT, vae="tiny", strength=0, seed=1)
    difference = np.abs(np.asarray(ours.images[0], int) - round_trip(net, picture)).max()
    assert difference <= 1
    assert set(ours.devices) >= {"tiny_vae_encoder", "tiny_vae_decoder"}
    assert "vae_decoder" not in ours.devices


@pytest.mark.parametrize(
    ("channels", "latents"),
    [
        (4, Latents(channels=4, downscale=8, multiple=8, scaling=0.18215)),
        (16, Latents(channels=16, downscale=8, multiple=16, scaling=1.5305, shift=0.0609)),
        (
            4,
            Latents(
                channels=4, downscale=4, multiple=4, scaling=0.5, mean=(0.1,) * 4, std=(2.0,) * 4
            ),
        ),
    ],
    ids=["SD", "SD 3", "mean and deviation"],
)
def test_its_graphs_speak_as_the_own_vae_does(
    channels: int, latents: Latents, tmp_path: Path
) -> None:
    """At TAESD's true size: what a pipeline scales, they have scaled back before."""
    net = tiny(latent_channels=channels) if latents.mean is None else tiny(**FITTING)
    net.save_pretrained(tmp_path / "tiny")
    vae = read_tiny_vae(tmp_path / "tiny")
    rng = np.random.default_rng(0)
    pixels = rng.uniform(-1, 1, (1, 3, 48, 64)).astype(np.float32)
    z = rng.standard_normal((1, channels, 4, 6), np.float32) * np.float32(2)
    scale = np.float32(latents.scaling / (latents.std[0] if latents.std else 1))
    shift = np.float32(latents.mean[0] if latents.mean else latents.shift)
    coded = run_graph(tmp_path / "e", encoder(vae, latents, "float32"), vae.tensors, pixels)
    shown = run_graph(
        tmp_path / "d", decoder(vae, latents, "float32"), vae.tensors, z / scale + shift
    )
    with torch.no_grad():
        reference = net.encode(torch.from_numpy(pixels)).latents.numpy()
        picture = net.decode(torch.from_numpy(z)).sample.numpy()
    np.testing.assert_allclose((coded - shift) * scale, reference, atol=2e-5)
    np.testing.assert_allclose(shown, picture, atol=2e-5)


def test_the_original_pair_of_files_is_the_same(folder: Path, net: Any, tmp_path: Path) -> None:
    """taesd_encoder.safetensors and taesd_decoder.safetensors, whose decoder counts its clamp."""
    [weights] = folder.glob("*.safetensors")
    for half, before in (("encoder", 0), ("decoder", 1)):
        found = {}
        for name, tensor in load_file(weights).items():
            if name.startswith(f"{half}.layers."):
                at, _, rest = name.removeprefix(f"{half}.layers.").partition(".")
                found[f"{int(at) + before}.{rest}"] = tensor
        save_file(found, tmp_path / f"taesd_{half}.safetensors")
    picture = Image.open(EXAMPLE).convert("RGB")
    with Img2Img.open(tiny_vae=tmp_path / "taesd_decoder.safetensors", device="cpu") as pipe:
        ours = np.asarray(pipe(picture, PROMPT, vae="tiny", strength=0).images[0], int)
    assert np.abs(ours - round_trip(net, picture)).max() <= 1
    (tmp_path / "taesd_encoder.safetensors").unlink()
    with pytest.raises(CheckpointError, match="its encoder is not beside it"):
        read_tiny_vae(tmp_path / "taesd_decoder.safetensors")


def test_the_seed_means_the_same_noise(pipe: Img2Img) -> None:
    """What is drawn for the own VAE's posterior is drawn for the tiny one, too."""
    own, tiny = (
        [
            one.prediction
            for one in pipe.stream(None, PROMPT, size=(64, 64), seed=5, vae=vae)
            if isinstance(one, Step)
        ]
        for vae in ("own", "tiny")
    )
    assert all((a == b).all() for a, b in zip(own, tiny, strict=True))


def test_previews_come_from_it_at_full_size(pipe: Img2Img) -> None:
    stream = pipe.stream(EXAMPLE, PROMPT, strength=0.5, seed=1, vae="tiny")
    *steps, end = stream
    shown = [step.preview() for step in steps if isinstance(step, Step)]
    assert {one.size for one in shown} == {(128, 128)}
    last = np.abs(np.asarray(shown[-1], int) - np.asarray(end.result.images[0])).max()  # type: ignore[union-attr]
    assert last <= 1, "the last thing foreseen is the picture"


def test_what_does_not_fit_is_refused_in_a_line(folder: Path, tmp_path: Path) -> None:
    with Img2Img.open(device="cpu") as plain, pytest.raises(UsageError, match="--tiny-vae"):
        plain(EXAMPLE, PROMPT, vae="tiny")
    tiny().save_pretrained(tmp_path / "eighth")
    with pytest.raises(UsageError, match=r"tiny_vae: eighth has latents of 4 channels at 1/8"):
        Img2Img.open(tiny_vae=tmp_path / "eighth")
    silu = tmp_path / "silu"
    silu.mkdir()
    config = json.loads((folder / "config.json").read_text("utf-8")) | {"act_fn": "silu"}
    (silu / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(CheckpointError, match=r"act_fn: expected 'relu', got 'silu'"):
        read_tiny_vae(silu)


def test_the_command_line_paints_with_it(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def overpaint(*arguments: object) -> object:
        monkeypatch.setattr(sys, "argv", ["overpaint", *map(str, arguments)])
        try:
            main.main()
        except SystemExit as ended:
            return ended.code
        return None

    out = tmp_path / "out.png"
    assert not overpaint("run", EXAMPLE, PROMPT, "--tiny-vae", folder, "--vae", "tiny", "-o", out)
    assert read_parameters(out)["vae"] == "tiny"
    assert overpaint("import", folder, "-o", tmp_path / "bundle")
    assert "is used as it is" in capsys.readouterr().err.replace("\n", " ")

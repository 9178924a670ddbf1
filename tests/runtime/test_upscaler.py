"""A user's ONNX network enlarges pictures, in windows without a seam; what is none is refused."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from tests.serve.running import data_url, png, serving
from typer.testing import CliRunner

from overpaint.bundle.errors import CancelledError, CheckpointError, UsageError
from overpaint.cli.app import app
from overpaint.runtime import Img2Img
from overpaint.runtime.metadata import read_parameters
from overpaint.runtime.upscaler import Upscaler
from overpaint.serve.command import opening_of, serve
from overpaint.serve.config import Config
from overpaint.serve.jobs.engines.bundles import Opening, served_bundle

SUMMER = Path(__file__).parents[2] / "examples/summer.png"
OPEN = ("n", 3, "h", "w")


def network(
    path: Path,
    factor: int = 2,
    shape: tuple[int | str, ...] = OPEN,
    kernel: int = 1,
    dtype: int = TensorProto.FLOAT,
) -> Path:
    """A convolution, then pixels shuffled out of channels, as the ends of such networks are. With a
    kernel of 1 each pixel becomes a square of its colour."""
    weights = np.zeros((3 * factor**2, 3, kernel, kernel), np.float32)
    random = np.random.default_rng(0)
    for channel in range(3):
        some = random.random((factor**2, kernel, kernel)) if kernel > 1 else np.ones((1, 1, 1))
        shares = some / some.sum((1, 2), keepdims=True)
        weights[channel * factor**2 : (channel + 1) * factor**2, channel] = shares
    stored = weights.astype(helper.tensor_dtype_to_np_dtype(dtype))
    nodes = [
        helper.make_node("Conv", ["x", "weights"], ["y"], pads=[kernel // 2] * 4),
        helper.make_node("DepthToSpace", ["y"], ["z"], blocksize=factor, mode="CRD"),
    ]
    graph = helper.make_graph(
        nodes,
        "upscaler",
        [helper.make_tensor_value_info("x", dtype, shape)],
        [helper.make_tensor_value_info("z", dtype, ["a", 3, "b", "c"])],
        [numpy_helper.from_array(stored, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def squares(image: Image.Image, factor: int) -> Image.Image:
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [(OPEN, TensorProto.FLOAT), ((1, 3, 64, 64), TensorProto.FLOAT), (OPEN, TensorProto.FLOAT16)],
    ids=["any size", "one size", "float16"],
)
@pytest.mark.parametrize("size", [(40, 30), (300, 260)], ids=["smaller", "larger"])
def test_windows_of_a_picture_are_the_whole(
    shape: tuple[int | str, ...], dtype: int, size: tuple[int, int], tmp_path: Path
) -> None:
    picture = Image.open(SUMMER).convert("RGB").resize(size)
    with Upscaler.open(network(tmp_path / "x2.onnx", 2, shape, dtype=dtype)) as upscaler:
        made = upscaler.enlarge(picture, (size[0] * 2, size[1] * 2))
    difference = np.asarray(made).astype(int) - np.asarray(squares(picture, 2))
    assert made.size == (size[0] * 2, size[1] * 2)
    assert np.abs(difference).max() <= (1 if dtype == TensorProto.FLOAT16 else 0)


def test_no_seam_is_where_windows_meet(tmp_path: Path) -> None:
    picture = Image.open(SUMMER).convert("RGB").resize((320, 200))
    whole = network(tmp_path / "whole.onnx", 4, (1, 3, 200, 320), kernel=7)
    cut = network(tmp_path / "cut.onnx", 4, (1, 3, 64, 64), kernel=7)
    with Upscaler.open(whole) as first, Upscaler.open(cut) as second:
        made = [np.asarray(one.enlarge(picture, (1280, 800))) for one in (first, second)]
    assert np.abs(made[0].astype(int) - made[1]).max() <= 1


def test_it_runs_until_a_picture_is_large_enough(tmp_path: Path) -> None:
    picture = Image.open(SUMMER).convert("RGB").resize((16, 16))
    with Upscaler.open(network(tmp_path / "x2.onnx")) as upscaler:
        assert upscaler.enlarge(picture, (48, 48)).size == (64, 64)
        with pytest.raises(CancelledError):
            upscaler.enlarge(picture, (48, 48), lambda: True)


def test_enlarging_takes_it_instead_of_lanczos_and_the_picture_says_so(tmp_path: Path) -> None:
    file = network(tmp_path / "x4.onnx", 4)
    picture = Image.open(SUMMER).convert("RGB").resize((64, 64))
    asked: dict[str, Any] = {"strength": 0.4, "steps": 4, "seed": 3}
    with Img2Img.open(upscaler=file, device="cpu") as pipe:
        made = pipe(picture, "summer", upscale=2, **asked)
        by_hand = squares(picture, 4).resize((128, 128), Image.Resampling.LANCZOS)
        expected = pipe(by_hand, "summer", tile="auto", **asked)
        small = pipe.text_to_image("summer", size=(64, 64), steps=2, seed=3)
        hires = pipe.text_to_image("summer", size=(64, 64), steps=2, seed=3, upscale=2)
        by_hand = squares(small.images[0], 4).resize((128, 128), Image.Resampling.LANCZOS)
        second = pipe(by_hand, "summer", strength=0.4, steps=2, steps_mode="exact", seed=3)
    assert made.images[0].tobytes() == expected.images[0].tobytes()
    assert hires.images[0].tobytes() == second.images[0].tobytes()
    for result in (made, hires):
        result.images[0].save(tmp_path / "out.png")
        said = read_parameters(tmp_path / "out.png")
        assert (said["upscaler"], len(said["upscaler_sha256"])) == ("x4.onnx", 64)
    assert "Hires upscaler: x4.onnx" in hires.parameters.infotext()
    assert expected.parameters.upscaler is None


def test_the_command_takes_it_and_wants_to_know_how_many_times(tmp_path: Path) -> None:
    file, out = network(tmp_path / "x2.onnx"), tmp_path / "out.png"
    asked = ["run", str(SUMMER), "summer", "--upscaler", str(file), "--steps", "2", "-o", str(out)]
    refused = CliRunner().invoke(app, asked).exception
    assert isinstance(refused, UsageError)
    assert "say how many times, with --upscale" in str(refused)
    assert CliRunner().invoke(app, [*asked, "--upscale", "1.5"]).exit_code == 0
    assert Image.open(out).size == (192, 192)
    assert read_parameters(out)["upscaler"] == "x2.onnx"


def test_a_server_enlarges_by_it(tmp_path: Path) -> None:
    file = network(tmp_path / "x2.onnx")
    asked: dict[str, Any] = {"strength": 0.3, "steps": 4, "seed": 3}
    opening = Opening(device="cpu", upscaler=file)
    assert served_bundle(None, opening).fingerprint != served_bundle(None, Opening()).fingerprint
    picture = Image.open(io.BytesIO(png(64, 64)))
    with serving(Config(port=0), [served_bundle(None, opening)]) as server:
        job = server.submit(
            image=data_url(png(64, 64)),
            prompt="summer",
            sampler="ddim",
            upscale=2,
            styles={},
            **asked,
        )
        made = server.ended(job["id"], seconds=60)["result"]
        pixels = server.pixels(made["media"][0])
    assert made["settings"]["upscaler"] == "x2.onnx"
    with Img2Img.open(upscaler=file, device="cpu") as pipe:
        expected = pipe(picture, "summer", sampler="ddim", upscale=2, **asked).images[0]
    assert np.array_equal(pixels, np.asarray(expected))
    with pytest.raises(CheckpointError, match="expected an upscaler"):
        serve(opening=opening_of(upscaler=SUMMER))


def test_what_is_no_upscaler_is_refused_in_one_line(tmp_path: Path) -> None:
    none = tmp_path / "none.onnx"
    none.write_bytes(b"no graph")
    grey = network(tmp_path / "grey.onnx", shape=("n", 1, "h", "w"))
    flat = network(tmp_path / "flat.onnx", 1)
    whole = network(tmp_path / "whole.onnx", dtype=TensorProto.INT32)
    for path, told in (
        (none, "expected an upscaler as an ONNX file"),
        (tmp_path / "missing.onnx", "cannot be read|expected an upscaler as an ONNX file"),
        (grey, r"expected an upscaler, one float input \(N,3,H,W\)"),
        (whole, r"expected an upscaler, one float input \(N,3,H,W\)"),
        (flat, "makes a picture 2, 3 or 4 times as large; of"),
    ):
        with pytest.raises(CheckpointError, match=told) as refused:
            Img2Img.open(upscaler=path)
        assert "\n" not in str(refused.value)

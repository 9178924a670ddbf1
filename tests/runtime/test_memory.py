"""What a run takes of memory is estimated before it begins, and what cannot fit is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.doubles.engines import fake_bundle

from overpaint.bundle.errors import BundleError, UsageError
from overpaint.bundle.format.open import open_bundle
from overpaint.runtime import Img2Img, memory
from overpaint.runtime.default_bundle import EMBEDDED
from overpaint.runtime.memory import BASE, attention, estimate, weights

SD15 = {
    "text_encoder": 123_060_480,
    "vae_encoder": 34_163_592,
    "unet": 859_520_964,
    "vae_decoder": 49_490_199,
}
IN_FLOAT32 = {name: 4 * number for name, number in SD15.items()}
MEASURED = """
import json, sys
from pathlib import Path
from typing import Any
from PIL import Image
from overpaint.runtime import Img2Img

side, n = int(sys.argv[1]), int(sys.argv[2])
with Img2Img.open(device="cpu") as pipe:
    pipe(Image.new("RGB", (side, side)), "winter", strength=1.0, steps=1, guidance_scale=5.0, n=n)
lines = Path("/proc/self/status").read_text().splitlines()
[peak] = [line for line in lines if line.startswith("VmHWM")]
print(int(peak.split()[1]) * 1024)
"""


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="memory is measured by Linux's own counters"
)
@pytest.mark.parametrize(("side", "n"), [(128, 1), (256, 8), (512, 1), (768, 1)])
def test_the_embedded_model_takes_what_was_estimated_or_somewhat_more(side: int, n: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(side), str(n)],
        capture_output=True,
        text=True,
        check=True,
    )
    estimated = BASE + estimate(
        counted := weights(open_bundle(EMBEDDED)),
        {name: 4 * number for name, number in counted.items()},
        denoiser="unet",
        size=(side, side),
        points=(side // 4) ** 2 * n * 2,
        scores=attention(open_bundle(EMBEDDED), (side // 4) ** 2) * n * 2,
    )
    print(f"{side}x{side}, {n}: {estimated / 1e6:.0f} MB, measured {int(done.stdout) / 1e6:.0f}")
    assert 0.7 * int(done.stdout) < estimated < 1.15 * int(done.stdout)


def test_sd15_took_what_was_estimated_or_somewhat_more() -> None:
    """Against the peak that bench/studies/real_sizes.py measured at 512x512 with guidance, when all
    weights were held in float32, as those are that are stored so."""
    results = Path(__file__).parents[2] / "bench" / "results" / "real-sizes-2-cores.json"
    rows = json.loads(results.read_text())["rows"]
    [peak] = [
        row["peak_mb"] for row in rows if row["architecture"] == "sd1.5" and row["step"] == "run"
    ]
    estimated = BASE + estimate(
        SD15,
        IN_FLOAT32,
        denoiser="unet",
        size=(512, 512),
        points=64 * 64 * 2,
        scores=8 * 4096**2 * 2,
    )
    assert 0.9 * peak < estimated / 1e6 < 1.1 * peak


@pytest.mark.parametrize(
    ("config", "scores"),
    [
        ({"down_block_types": ["CrossAttnDownBlock2D"] * 3, "attention_head_dim": 8}, 8 * 4096**2),
        (
            {
                "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
                "attention_head_dim": [5, 10],
                "num_attention_heads": None,
            },
            10 * 1024**2,
        ),
        ({"down_block_types": ["DownBlock2D"]}, 0),
        ({"patch_size": 2, "num_attention_heads": 24, "attention_head_dim": 64}, 24 * 1024**2),
        (None, 0),
    ],
)
def test_the_largest_attention_is_found_in_the_denoisers_config(
    config: dict[str, Any] | None, scores: int, tmp_path: Path
) -> None:
    bundle = fake_bundle(tmp_path)
    if config is not None:
        (tmp_path / "unet").mkdir()
        (tmp_path / "unet" / "config.json").write_text(json.dumps(config))
    assert attention(bundle, 64 * 64) == scores


@pytest.mark.parametrize(
    "config", ['{"patch_size": 0}', '{"attention_head_dim": "x"}', '{"down_block_types": 3}']
)
def test_a_config_that_makes_no_sense_is_the_bundles_error(config: str, tmp_path: Path) -> None:
    bundle = fake_bundle(tmp_path)
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").write_text(config)
    with pytest.raises(BundleError, match=r"config\.json"):
        attention(bundle, 64)


def test_more_pixels_pictures_and_weights_take_more_and_low_memory_less() -> None:
    def taken(side: int, n: int = 1, **options: bool) -> float:
        points = (side // 8) ** 2 * 2 * n
        return estimate(
            SD15, IN_FLOAT32, denoiser="unet", size=(side, side), points=points, **options
        )

    assert taken(512) < taken(512, n=2) < taken(1024)
    assert taken(512, encodes=False) < taken(512)
    assert taken(512, low_memory=True) < taken(512)


def test_a_run_that_cannot_fit_is_refused_with_figures_before_it_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "memory_limit", lambda: 10**9)
    picture = Image.new("RGB", (128, 128))
    with Img2Img.open(device="cpu") as pipe:
        with pytest.raises(
            UsageError, match=r"2048x2048 would take about 1\d\.\d GB .* 1\.0 GB here"
        ):
            pipe(picture, "winter", size=(2048, 2048), guidance_scale=2)
        with pytest.raises(UsageError, match="16 pictures at a time of 512x512"):
            pipe(picture, "winter", size=(512, 512), n=16)
        assert pipe(picture, "winter", steps=1, strength=1.0).images[0].size == (128, 128)
    monkeypatch.setattr(memory, "memory_limit", lambda: None)  # a system that does not tell
    with Img2Img.open(device="cpu") as pipe:
        assert pipe(picture, "winter", steps=1, strength=1.0).images

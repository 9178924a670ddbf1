"""diffusers opens whatever folder a bundle or a checkpoint may be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from overpaint.bench.peer_process import _pipeline


@pytest.mark.parametrize("left_out", [(), ("safety_checker", "feature_extractor", "image_encoder")])
def test_an_index_need_not_name_a_safety_checker(
    left_out: tuple[str, ...], tiny_sd1_bundle: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_sd1_bundle, tmp_path / "bundle"))
    index = json.loads((folder / "model_index.json").read_text())
    kept = {name: entry for name, entry in index.items() if name not in left_out}
    (folder / "model_index.json").write_text(json.dumps(kept))
    pipe = _pipeline(folder, torch.float32)
    assert type(pipe).__name__ == "StableDiffusionImg2ImgPipeline"
    assert pipe.safety_checker is None
    assert pipe.unet.dtype == torch.float32

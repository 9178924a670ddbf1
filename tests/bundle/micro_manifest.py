"""The manifest of the smallest bundle there is, as plain JSON values, to be changed by tests."""

from __future__ import annotations

from typing import Any

SHA = "0" * 64
WIDTH = 8


def tensor(name: str, *shape: int | str, dtype: str = "float32") -> dict[str, Any]:
    return {"name": name, "dtype": dtype, "shape": list(shape)}


def component(name: str, inputs: list[Any], outputs: list[Any]) -> dict[str, Any]:
    symbols = {d for t in inputs + outputs for d in t["shape"] if isinstance(d, str)}
    return {
        "graph": f"{name}/model.onnx",
        "inputs": inputs,
        "outputs": outputs,
        "ranges": {symbol: {"minimum": 1, "maximum": 128} for symbol in sorted(symbols)},
        "parity": {"max_abs_error": 1e-6, "max_abs_reference": 2.0, "limit": 1e-4},
    }


def good() -> dict[str, Any]:
    """A manifest of the smallest kind that is right."""
    components = {
        "text_encoder": component(
            "text_encoder",
            [tensor("input_ids", "batch", "length", dtype="int64")],
            [tensor("last_hidden_state", "batch", "length", WIDTH)],
        ),
        "unet": component(
            "unet",
            [
                tensor("sample", "batch", 4, "height", "width"),
                tensor("timestep", 1),
                tensor("encoder_hidden_states", "batch", "length", WIDTH),
            ],
            [tensor("out_sample", "batch", 4, "height", "width")],
        ),
        "vae_encoder": component(
            "vae_encoder",
            [tensor("sample", "batch", 3, "height", "width")],
            [tensor("latent_parameters", "batch", 8, "rows", "columns")],
        ),
        "vae_decoder": component(
            "vae_decoder",
            [tensor("latent_sample", "batch", 4, "rows", "columns")],
            [tensor("sample", "batch", 3, "height", "width")],
        ),
    }
    paths = [entry["graph"] for entry in components.values()]
    paths += ["model_index.json", "scheduler/scheduler_config.json", "tokenizer/tokenizer.json"]
    return {
        "format": "overpaint-bundle",
        "version": 1,
        "name": "micro",
        "family": "sd1",
        "denoiser": "unet",
        "components": components,
        "latents": {"channels": 4, "downscale": 8, "multiple": 8, "scaling": 0.18215},
        "prediction": "epsilon",
        "text": {
            "encoders": [
                {
                    "component": "text_encoder",
                    "tokenizer": "tokenizer",
                    "kind": "clip",
                    "length": 77,
                    "pad_token_id": 49407,
                    "hidden": "last_hidden_state",
                }
            ]
        },
        "defaults": {"steps": 20, "guidance_scale": 7.5, "strength": 0.8},
        "source": {"name": "micro", "sha256": SHA},
        "producers": {"overpaint": "0.1.0"},
        "files": {path: {"size": 10, "sha256": SHA} for path in paths},
    }

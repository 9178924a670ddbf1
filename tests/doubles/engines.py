"""A bundle whose engines are a few lines of NumPy: the runtime's own logic, without an engine.

The VAE averages cells of 8x8 pixels and repeats them; the denoiser is the exact one for pictures
that are normally distributed around one colour, which the prompt chooses.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from overpaint.bundle.errors import SessionError
from overpaint.bundle.facts import Defaults, Latents, Text, TextEncoder
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.manifest import Component, File, Manifest, Source
from overpaint.bundle.tensor import Range, Tensor
from overpaint.runtime import Img2Img
from overpaint.runtime.components import Components
from overpaint.runtime.engines import Engines

Array = npt.NDArray[Any]

WORDS = ("<pad>", "<start>", "<end>", "red", "green", "blue", "a", "the", "picture", ",")
LENGTH = 6
SCALING = 0.5
SPREAD = 0.3
TIMES = np.arange(1000)
ALPHAS = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)

SCHEDULER = {
    "_class_name": "EulerDiscreteScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "steps_offset": 1,
    "timestep_spacing": "leading",
}

FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}


@dataclass
class FakeSession:
    """A function on arrays, which counts its calls and notes what it was fed."""

    name: str
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    function: Callable[[Mapping[str, Array]], Mapping[str, Array]]
    fed: list[dict[str, Array]] = field(default_factory=list)
    closed: bool = False
    device: str = "NumPy, by hand"

    def run(self, feed: Mapping[str, Array]) -> Mapping[str, Array]:
        if self.closed:
            raise SessionError(f"{self.name} is closed")
        for name, array in feed.items():
            assert array.dtype == np.dtype(self.inputs[name].dtype), name
            assert array.ndim == len(self.inputs[name].shape), name
        assert feed.keys() == self.inputs.keys()
        self.fed.append({name: array.copy() for name, array in feed.items()})
        return self.function(feed)

    def bind(self, constants: Mapping[str, Array]) -> Callable[..., Mapping[str, Array]]:
        return lambda feed: self.run({**constants, **feed})

    def close(self) -> None:
        self.closed = True


@dataclass
class FakeEngines:
    """The sessions that were opened, in order."""

    manifest: Manifest
    opened: list[FakeSession] = field(default_factory=list)
    most_at_once: int = 0

    def open(self, name: str) -> FakeSession:
        component = self.manifest.components[name]
        session = FakeSession(
            name,
            {tensor.name: tensor for tensor in component.inputs},
            {tensor.name: tensor for tensor in component.outputs},
            FUNCTIONS[name],
        )
        self.opened.append(session)
        self.most_at_once = max(self.most_at_once, sum(not s.closed for s in self.opened))
        return session

    def __getitem__(self, name: str) -> FakeSession:
        """The session `name` that was opened last."""
        return next(session for session in reversed(self.opened) if session.name == name)

    def runs(self, name: str) -> int:
        return sum(len(session.fed) for session in self.opened if session.name == name)


def text_encoder(feed: Mapping[str, Array]) -> Mapping[str, Array]:
    ids = feed["input_ids"]
    colour = np.stack([(ids == WORDS.index(name)).any(1) for name in ("red", "green", "blue")], 1)
    hidden = np.repeat(colour[:, None].astype(np.float32) * 2 - 1, LENGTH, axis=1)
    return {"last_hidden_state": hidden, "pooler_output": hidden[:, 0]}


def vae_encoder(feed: Mapping[str, Array]) -> Mapping[str, Array]:
    b, _, h, w = feed["sample"].shape
    cells = feed["sample"].reshape(b, 3, h // 8, 8, w // 8, 8).mean((3, 5))
    mean = np.concatenate([cells, cells.mean(1, keepdims=True)], 1)
    return {"latent_parameters": np.concatenate([mean, np.full_like(mean, -20)], 1)}


def vae_decoder(feed: Mapping[str, Array]) -> Mapping[str, Array]:
    return {"sample": feed["latent_sample"][:, :3].repeat(8, 2).repeat(8, 3)}


def unet(feed: Mapping[str, Array]) -> Mapping[str, Array]:
    """The exact ε if pictures are normally distributed around the prompt's colour."""
    colour = feed["encoder_hidden_states"][:, 0, :, None, None]
    colour = np.concatenate([colour, colour.mean(1, keepdims=True)], 1) * SCALING
    t = feed["timestep"].astype(float).reshape(-1, 1, 1, 1)
    signal, noise = np.sqrt(np.interp(t, TIMES, ALPHAS)), np.sqrt(1 - np.interp(t, TIMES, ALPHAS))
    x, variance = feed["sample"], SPREAD**2
    gain = variance * signal / (variance * signal**2 + noise**2)
    x0 = colour + gain * (x - signal * colour)
    return {"out_sample": ((x - signal * x0) / noise).astype(np.float32)}


FUNCTIONS = {
    "text_encoder": text_encoder,
    "vae_encoder": vae_encoder,
    "unet": unet,
    "vae_decoder": vae_decoder,
}


def _tensor(name: str, dtype: str, *shape: int | str) -> Tensor:
    return Tensor(name=name, dtype=dtype, shape=shape)  # type: ignore[arg-type]


def _component(name: str, inputs: list[Tensor], outputs: list[Tensor], batch: int) -> Component:
    ranges = {
        "batch": Range(minimum=1, maximum=batch),
        "height": Range(minimum=8, maximum=1024, multiple=8),
        "width": Range(minimum=8, maximum=1024, multiple=8),
        "rows": Range(minimum=1, maximum=128),
        "columns": Range(minimum=1, maximum=128),
    }
    used = {side for tensor in inputs + outputs for side in tensor.shape if isinstance(side, str)}
    return Component(
        graph=f"{name}/model.onnx",
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        ranges={name: one for name, one in ranges.items() if name in used},
    )


def fake_bundle(
    folder: Path, *, batch: int = 32, scheduler: Mapping[str, Any] = SCHEDULER, **changes: Any
) -> Bundle:
    """Write tokenizer and scheduler to `folder`; the rest is in the manifest alone."""
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 1), ("<end>", 2)]
    )
    (folder / "tokenizer").mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer" / "tokenizer.json"))
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    image, latent = ("batch", 3, "height", "width"), ("batch", 4, "rows", "columns")
    context = _tensor("encoder_hidden_states", "float32", "batch", LENGTH, 3)
    components = {
        "text_encoder": _component(
            "text_encoder",
            [_tensor("input_ids", "int64", "batch", LENGTH)],
            [_tensor("last_hidden_state", "float32", "batch", LENGTH, 3)],
            batch,
        ),
        "vae_encoder": _component(
            "vae_encoder",
            [_tensor("sample", "float32", *image)],
            [_tensor("latent_parameters", "float32", "batch", 8, "rows", "columns")],
            batch,
        ),
        "unet": _component(
            "unet",
            [
                _tensor("sample", "float32", *latent),
                _tensor("timestep", "float32", "batch"),
                context,
            ],
            [_tensor("out_sample", "float32", *latent)],
            batch,
        ),
        "vae_decoder": _component(
            "vae_decoder",
            [_tensor("latent_sample", "float32", *latent)],
            [_tensor("sample", "float32", *image)],
            batch,
        ),
    }
    manifest: dict[str, Any] = {
        "name": "fake",
        "family": "sd1",
        "denoiser": "unet",
        "components": components,
        "latents": Latents(channels=4, downscale=8, multiple=8, scaling=SCALING),
        "prediction": "epsilon",
        "text": Text(
            encoders=(
                TextEncoder(
                    component="text_encoder",
                    tokenizer="tokenizer",
                    kind="clip",
                    length=LENGTH,
                    pad_token_id=0,
                    hidden="last_hidden_state",
                ),
            )
        ),
        "defaults": Defaults(steps=10, guidance_scale=2.0, strength=0.5),
        "source": Source(name="by hand", sha256="0" * 64),
        "producers": {},
        "files": {"tokenizer/tokenizer.json": File(size=1, sha256="0" * 64)},
    }
    return Bundle(folder, Manifest(**{**manifest, **changes}))


def pipeline(bundle: Bundle, components: Components) -> Img2Img:
    """A pipeline on sessions that are provided for."""
    return Img2Img(Engines.of(bundle, components))


def fake_pipeline(
    folder: Path, *, low_memory: bool = False, **changes: Any
) -> tuple[Img2Img, FakeEngines]:
    bundle = fake_bundle(folder, **changes)
    engines = FakeEngines(bundle.manifest)
    names = tuple(bundle.manifest.components)
    return pipeline(bundle, Components(names, engines.open, low_memory=low_memory)), engines

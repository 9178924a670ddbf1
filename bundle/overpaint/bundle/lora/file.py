"""A LoRA file, read: which modules it changes, by which factors, in whatever dialect it was saved.

kohya's scripts write `lora_unet_down_blocks_0_…_to_q.lora_down.weight` with an alpha for each
module; diffusers and PEFT `unet.down_blocks.0.….to_q.lora_A.weight` with one alpha in the metadata.
LoCon adds factors for convolutions (and sometimes a middle one), DoRA a magnitude for each row.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from overpaint.bundle.checkpoint.safetensors import Stored, read_array, read_header
from overpaint.bundle.errors import CheckpointError, UsageError

DENOISER: Final = "denoiser"
"""Stands for the component that predicts, which dialects call differently."""

_COMPONENTS: Final = {
    "lora_unet_": DENOISER,
    "lora_transformer_": DENOISER,
    "lora_te_": "text_encoder",
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
    "lora_te3_": "text_encoder_3",
    "unet.": DENOISER,
    "transformer.": DENOISER,
    "diffusion_model.": DENOISER,
    "text_encoder.": "text_encoder",
    "text_encoder_2.": "text_encoder_2",
    "text_encoder_3.": "text_encoder_3",
}
_PARTS: Final = re.compile(
    r"(?P<module>.+?)"
    r"(?:[._]lora[._](?P<factor>down|up|mid|A|B)(?:\.default)?\.weight"
    r"|\.lora_linear_layer\.(?P<old>down|up)\.weight"
    r"|\.(?P<alpha>alpha)"
    r"|\.(?P<magnitude>dora_scale|lora_magnitude_vector)(?:\.default)?(?:\.weight)?)"
)
_FACTORS: Final = {"down": "down", "A": "down", "up": "up", "B": "up", "mid": "mid"}
_PEFT_METADATA: Final = "lora_adapter_metadata"
_SHOWN: Final = 10  # keys that a message lists before it only counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """What a LoRA does to one module: scale · up · [mid ·] down is added to its weight.

    `module` is its name with every dot an underscore, the form that all dialects share;
    `component` is `denoiser`, `text_encoder`, …; `key` is how the file calls it.
    """

    key: str
    component: str
    module: str
    scale: float
    down: Stored
    up: Stored
    mid: Stored | None = None
    magnitude: Stored | None = None


@dataclass(frozen=True, slots=True)
class LoraChoice:
    """A LoRA file and the weight at which it is to be fused."""

    path: Path
    weight: float = 1.0

    @classmethod
    def parse(cls, text: str) -> LoraChoice:
        """`FILE` or `FILE:WEIGHT`. Raises `UsageError` where the weight is not a finite number."""
        file, colon, weight = text.rpartition(":")
        if not colon or weight.endswith(".safetensors"):
            return cls(Path(text))
        try:
            number = float(weight)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise UsageError(
                f"--lora {text}: expected FILE or FILE:WEIGHT, as in style.safetensors:0.8"
            )
        return cls(Path(file), number)


def read_lora(path: Path) -> list[Update]:
    """Every module that a LoRA file changes.

    Raises:
        CheckpointError: it is not a safetensors file, or holds keys that belong to no LoRA.
    """
    tensors, metadata = read_header(path)
    modules: dict[str, dict[str, Stored]] = {}
    unknown = []
    for name, stored in tensors.items():
        match = _PARTS.fullmatch(name)
        if match is None:
            unknown.append(name)
            continue
        factor = match["factor"] or match["old"]
        part = _FACTORS[factor] if factor else "alpha" if match["alpha"] else "magnitude"
        modules.setdefault(match["module"], {})[part] = stored
    unknown += [key for key, parts in modules.items() if not {"up", "down"} <= parts.keys()]
    if unknown or not modules:
        refuse_keys(path, unknown, "that are not a LoRA's up and down factors")
    alphas = _PeftAlphas.read(metadata)
    return [_update(key, parts, alphas) for key, parts in modules.items()]


def refuse_keys(path: Path, keys: list[str], why: str) -> None:
    """Raise the error that lists `keys`."""
    listed = ", ".join(sorted(keys)[:_SHOWN])
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    what = f"{len(keys)} keys {why}: {listed}{more}" if keys else "no LoRA at all"
    raise CheckpointError(f"{path} holds {what}")


def _update(key: str, parts: Mapping[str, Stored], alphas: _PeftAlphas) -> Update:
    component, module = _place(key)
    rank = parts["down"].shape[0] if parts["down"].shape else 1
    if "alpha" in parts:
        scale = float(read_array(parts["alpha"]).reshape(-1)[0]) / rank
    else:
        scale = alphas.scale(key, rank)
    return Update(
        key=key,
        component=component,
        module=module,
        scale=scale,
        down=parts["down"],
        up=parts["up"],
        mid=parts.get("mid"),
        magnitude=parts.get("magnitude"),
    )


def _place(key: str) -> tuple[str, str]:
    """A module's component and its name with underscores; a bare name is the denoiser's."""
    key = key.removeprefix("base_model.model.")
    prefix = next((prefix for prefix in _COMPONENTS if key.startswith(prefix)), "")
    component, key = _COMPONENTS.get(prefix, DENOISER), key.removeprefix(prefix)
    return component, key.replace(".processor", "").replace(".", "_")


@dataclass(frozen=True, slots=True)
class _PeftAlphas:
    """The alphas that PEFT keeps in the metadata, by component (`unet.lora_alpha`, …)."""

    config: Mapping[str, Any]

    @classmethod
    def read(cls, metadata: Mapping[str, str]) -> _PeftAlphas:
        try:
            config = json.loads(metadata.get(_PEFT_METADATA, "{}"))
        except ValueError:
            config = {}
        return cls(config if isinstance(config, dict) else {})

    def scale(self, key: str, rank: int) -> float:
        """alpha / rank (or its root, for rsLoRA); 1 where the file has no alpha."""
        component, _, module = key.partition(".")
        alpha = self.config.get(f"{component}.lora_alpha")
        for pattern, value in (self.config.get(f"{component}.alpha_pattern") or {}).items():
            if re.match(rf"(.*\.)?({pattern})$", module):
                alpha = value
                break
        if alpha is None:
            return 1.0
        return float(alpha) / (
            math.sqrt(rank) if self.config.get(f"{component}.use_rslora") else rank
        )

"""`overpaint.json`: what a bundle is, in one closed, versioned schema. docs/bundle.md specifies it.

Unknown fields are errors, so a typing slip is never a silent default. Everything here is data;
reading, writing and checking it live beside it in `manifest_io` and `bundle`.
"""

from __future__ import annotations

from typing import Literal

import msgspec

FORMAT = "overpaint-bundle"
VERSION = 1

Family = Literal["sd1", "sd2", "sdxl", "sdxl-refiner", "sd3"]
Prediction = Literal["epsilon", "v_prediction", "sample", "flow"]
DType = Literal["float32", "float16", "bfloat16", "int64", "int32", "bool"]


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The closed, immutable base of every entry."""


def written_shape(shape: tuple[int | str, ...]) -> str:
    """A shape as NumPy writes it, symbolic sizes by name: `(batch, 4)`, `(1,)`, `()`."""
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


class Range(Record, frozen=True, kw_only=True):
    """The values that a symbolic dimension may take, both ends included, in `multiple`s."""

    minimum: int
    maximum: int
    multiple: int = 1


class Tensor(Record, frozen=True, kw_only=True):
    """One input or output of a graph. A dimension is a number, or the name of a `Range`."""

    name: str
    dtype: DType
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        """`sample float32 (batch, 4, height, width)`."""
        return f"{self.name} {self.dtype} {written_shape(self.shape)}"


class Parity(Record, frozen=True, kw_only=True):
    """How far a graph's numbers are from the checkpoint's, measured when it was exported.

    `max_abs_error` is max|graph - reference| over all outputs, `max_abs_reference` max|reference|,
    and the export fails where the quotient exceeds `limit`. `measured_on` says whether the weights
    were the checkpoint's own or, where they do not fit memory, the same architecture at reduced
    width and depth from a seed.
    """

    max_abs_error: float
    max_abs_reference: float
    limit: float
    measured_on: Literal["checkpoint", "reduced"] = "checkpoint"


class Component(Record, frozen=True, kw_only=True):
    """One graph: its file, its tensors and the range of each symbolic dimension."""

    graph: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    ranges: dict[str, Range]
    compute_dtype: DType = "float32"
    parity: Parity | None = None


class Latents(Record, frozen=True, kw_only=True):
    """How pixels and latents correspond.

    Encoding: z = (moments' sample - shift) * scaling; decoding the inverse. With `mean` and `std`
    (one value a channel): z = (sample - mean) * scaling / std. Image sides are multiples of
    `multiple` pixels; a latent cell covers `downscale` x `downscale` of them.
    """

    channels: int
    downscale: int
    multiple: int
    scaling: float
    shift: float = 0.0
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


class TextEncoder(Record, frozen=True, kw_only=True):
    """How one text encoder is fed, and which of its outputs conditions the denoiser.

    `length` tokens, padded with `pad_token_id`. `hidden` names the graph output taken as context
    (`last_hidden_state`, or `hidden_states.<k>` counted from 0); `pooled` the one taken as the
    pooled vector, if any.
    """

    component: str
    tokenizer: str
    kind: Literal["clip", "t5"]
    length: int
    pad_token_id: int
    hidden: str
    pooled: str | None = None


class Text(Record, frozen=True, kw_only=True):
    """The text encoders in the order in which their contexts are joined.

    `zeros_for_absent_negative`: an *absent* negative prompt (None, which is not "") is all zeros
    (SDXL's `force_zeros_for_empty_prompt`). `aesthetic_score`: time ids carry a score instead of
    the target size (SDXL's refiner). `t5_length`: SD 3's sequence of zeros where T5 is absent.
    """

    encoders: tuple[TextEncoder, ...]
    zeros_for_absent_negative: bool = False
    aesthetic_score: bool = False
    t5_length: int | None = None
    t5_width: int | None = None


class Defaults(Record, frozen=True, kw_only=True):
    """What a run uses where its caller says nothing."""

    steps: int
    guidance_scale: float
    strength: float
    sampler: str = "default"


class Lora(Record, frozen=True, kw_only=True):
    """A LoRA fused into the weights: its file's name and hash, and the weight it was fused at."""

    name: str
    sha256: str
    weight: float


class Source(Record, frozen=True, kw_only=True):
    """The checkpoint behind a bundle: a name for people, and a hash over its weight files."""

    name: str
    sha256: str


class File(Record, frozen=True, kw_only=True):
    """One file of the bundle. A weight file is one that graphs point into."""

    size: int
    sha256: str
    weights: bool = False


class Manifest(Record, frozen=True, kw_only=True):
    """The whole of `overpaint.json`. `files` holds every file of the bundle but the manifest."""

    format: Literal["overpaint-bundle"] = "overpaint-bundle"
    version: int = VERSION
    name: str
    family: Family
    denoiser: Literal["unet", "transformer"]
    components: dict[str, Component]
    latents: Latents
    prediction: Prediction
    text: Text
    defaults: Defaults
    source: Source
    producers: dict[str, str]
    files: dict[str, File]
    guidance_embedding_width: int | None = None
    preview: tuple[tuple[float, ...], ...] | None = None
    loras: tuple[Lora, ...] = ()

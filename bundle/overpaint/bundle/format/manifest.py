"""`overpaint.json`: what a bundle is, in one closed, versioned schema. docs/bundle.md specifies it.

Unknown fields are errors, so a typing slip is never a silent default. Everything here is data;
`manifest_file` reads and writes it, `rules` checks it.
"""

from __future__ import annotations

from typing import Final, Literal

from overpaint.bundle.facts import Defaults, DenoiserName, Latents, Prediction, Text
from overpaint.bundle.record import Record
from overpaint.bundle.tensor import DType, Range, Tensor

FORMAT = "overpaint-bundle"
VERSION = 1

GUIDANCE: Final = "guidance"
"""What a denoiser calls the input that takes the guidance scale as it is."""

REFERENCE_STATES: Final = "reference_states"
REFERENCE_PLACES: Final = "reference_places"
"""What a denoiser calls the tokens of pictures that it looks at beside the noisy one, and where
each is: (picture, row, column, 0)."""


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


class Lora(Record, frozen=True, kw_only=True):
    """A LoRA fused into the weights: its file's name and hash, and the weight it was fused at."""

    name: str
    sha256: str
    weight: float


class Embedding(Record, frozen=True, kw_only=True):
    """A word that stands for a textual inversion's vectors: its file's hash, and how many."""

    word: str
    sha256: str
    vectors: int


class Adapter(Record, frozen=True, kw_only=True):
    """The IP-Adapter through which the denoiser sees reference pictures: its name and hash, and
    how many tokens a picture becomes. A base adapter sees a picture's pooled vector, and nothing is
    a vector of zeros to it; a plus adapter sees each patch, and nothing is a grey picture."""

    name: str
    sha256: str
    kind: Literal["base", "plus"]
    tokens: int


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
    family: str
    denoiser: DenoiserName
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
    ip_adapter: Adapter | None = None
    embeddings: tuple[Embedding, ...] = ()

    @property
    def takes_guidance(self) -> bool:
        """Whether the denoiser is told the guidance scale, embedded or as it is: distilled from
        guidance, it needs no second call for it."""
        inputs = self.components[self.denoiser].inputs
        return self.guidance_embedding_width is not None or any(
            one.name == GUIDANCE for one in inputs
        )

    @property
    def looks_at_pictures(self) -> bool:
        """Whether the denoiser takes the latents of whole pictures beside the noisy one."""
        inputs = self.components[self.denoiser].inputs
        return any(one.name == REFERENCE_STATES for one in inputs)

    @property
    def inpaints(self) -> bool:
        """Whether the denoiser sees a mask and the masked picture's latents behind the noisy
        latents, as channels of one input: an inpainting checkpoint."""
        wanted = self.latents.inpainting_channels
        shapes = (one.shape for one in self.components[self.denoiser].inputs)
        return any(len(shape) == 4 and shape[1] == wanted for shape in shapes)

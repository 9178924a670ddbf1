"""What a manifest must mean beyond its schema: names that resolve, sizes that can be.

Each check yields `field.path: what is wrong` for all it finds, so that `overpaint verify` lists
everything and opening stops at the first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from overpaint.bundle import layout
from overpaint.bundle.facts import Latents, TextEncoder
from overpaint.bundle.families import FAMILIES
from overpaint.bundle.families.family import Family
from overpaint.bundle.files.names import problem_with_path
from overpaint.bundle.tensor import Range, Tensor, written_shape

from .manifest import Component, File, Manifest

NO_WEIGHTS: Final = (".json", ".onnx", ".plan", ".txt")
LARGEST_FILE: Final = 2**63 - 1
LARGEST_DIMENSION: Final = 2**31 - 1


def problems(manifest: Manifest) -> Iterator[str]:
    """Yield every contradiction in `manifest`, each as one line."""
    yield from _files(manifest)
    yield from meaning_problems(manifest)
    yield from _provenance(manifest)


def meaning_problems(manifest: Manifest) -> Iterator[str]:
    """The same without files and hashes, which an inferred manifest does not have."""
    yield from _family(manifest)
    for name, component in manifest.components.items():
        where = f"components.{name}"
        listed = (*layout.COMPONENTS, *layout.REFERENCES, *layout.TINY_VAE)
        known = name in listed or layout.is_part(name)
        if not known and layout.controls(name) is None:
            yield f"{where}: unknown component; expected one of {', '.join(layout.COMPONENTS)}"
        yield from _tensors(where, component)
        for dimension, values in component.ranges.items():
            yield from _range(f"{where}.ranges.{dimension}", values)
        yield from _parity(where, component)
    yield from _latents(manifest.latents)
    yield from _preview(manifest)
    yield from _text(manifest)
    yield from _defaults(manifest)
    yield from _adapter(manifest)
    if family := FAMILIES.get(manifest.family):
        yield from _encoders(manifest, family)
        yield from _pictures(manifest, family)


def file_problems(files: Mapping[str, File]) -> Iterator[str]:
    """What is wrong with the paths, sizes and hashes that a manifest lists."""
    seen: dict[str, str] = {}
    for path, file in files.items():
        if problem := problem_with_path(path):
            yield f"files: {problem}"
        if path == layout.MANIFEST:
            yield f"files: {path!r} is the manifest; it cannot hold its own hash"
        if (other := seen.setdefault(path.casefold(), path)) != path:
            yield f"files: {other!r} and {path!r} are one file where case does not count"
        if not 0 <= file.size <= LARGEST_FILE:
            yield f"files.{path}.size: expected 0 to 2^63 - 1 bytes, got {file.size}"
        if file.weights and path.lower().endswith(NO_WEIGHTS):
            yield f"files.{path}.weights: expected false; this file is checked at every open"
        if not _is_sha256(file.sha256):
            yield f"files.{path}.sha256: expected 64 lower-case hexadecimal digits"


def _files(manifest: Manifest) -> Iterator[str]:
    yield from file_problems(manifest.files)
    for path in (layout.MODEL_INDEX, layout.SCHEDULER_CONFIG):
        if path not in manifest.files:
            yield f"files: {path!r} is not listed; a bundle needs it"
    for name, component in manifest.components.items():
        if component.graph not in manifest.files:
            yield f"components.{name}.graph: {component.graph!r} is not listed in files"
    for index, encoder in enumerate(manifest.text.encoders):
        tokenizer = f"{encoder.tokenizer}/{layout.TOKENIZER}"
        if tokenizer not in manifest.files:
            yield f"text.encoders[{index}].tokenizer: {tokenizer!r} is not listed in files"


def _family(manifest: Manifest) -> Iterator[str]:
    family = FAMILIES.get(manifest.family)
    if family is None:
        yield f"family: expected {_one_of(FAMILIES)}, got {manifest.family!r}"
        return
    if manifest.denoiser != family.denoiser.component:
        wanted = _one_of([family.denoiser.component])
        yield f"denoiser: expected {wanted} for {family.name}, got {manifest.denoiser!r}"
    if manifest.prediction not in family.predictions:
        wanted = _one_of(family.predictions)
        yield f"prediction: expected {wanted} for {family.name}, got {manifest.prediction!r}"
    yield from _needed(manifest, family)


def _needed(manifest: Manifest, family: Family) -> Iterator[str]:
    """The components that the family has, and no other."""
    has = [encoder.component for encoder in family.encoders]
    has += [family.denoiser.component, layout.VAE_ENCODER, layout.VAE_DECODER]
    for name in has:
        if name not in manifest.components and name not in family.optional:
            yield f"components.{name}: missing; {family.name} needs it"
    for name in manifest.components:
        if name in layout.COMPONENTS and name not in has:
            yield f"components.{name}: {family.name} has none; expected {_one_of(has)}"


def _encoders(manifest: Manifest, family: Family) -> Iterator[str]:
    """The family's text encoders in its order, each fed and pooled as the family does."""
    wanted = [
        encoder
        for encoder in family.encoders
        if encoder.component in manifest.components or encoder.component not in family.optional
    ]
    got = manifest.text.encoders
    if [encoder.component for encoder in got] != [encoder.component for encoder in wanted]:
        names = ", ".join(encoder.component for encoder in wanted)
        listed = ", ".join(encoder.component for encoder in got) or "none"
        yield f"text.encoders: expected {names} for {family.name}, got {listed}"
        return
    for index, (encoder, want) in enumerate(zip(got, wanted, strict=True)):
        where = f"text.encoders[{index}]"
        if encoder.kind != want.kind:
            yield f"{where}.kind: expected {want.kind!r} for {family.name}, got {encoder.kind!r}"
        if (encoder.pooled is not None) != want.pooled:
            expected = "the name of an output" if want.pooled else "null"
            yield f"{where}.pooled: expected {expected} for {family.name}, got {encoder.pooled!r}"
    kinds = {encoder.kind for encoder in family.encoders}
    sizes = manifest.text.t5_length, manifest.text.t5_width
    if kinds != {encoder.kind for encoder in got} and None in sizes:
        yield f"text: expected t5_length and t5_width of a {family.name} without T5"


def _pictures(manifest: Manifest, family: Family) -> Iterator[str]:
    """What the graphs call pictures and latents, and how many channels these have."""
    latents, denoiser = manifest.latents, family.denoiser
    for component, name, wanted in (
        (denoiser.component, denoiser.sample, (latents.channels, latents.inpainting_channels)),
        (denoiser.component, denoiser.timestep, ()),
        (denoiser.component, denoiser.context, ()),
        (layout.VAE_ENCODER, "sample", (3,)),
        (layout.VAE_DECODER, "latent_sample", (latents.channels,)),
    ):
        if component not in manifest.components:
            continue
        where = f"components.{component}.inputs"
        tensors = {tensor.name: tensor for tensor in manifest.components[component].inputs}
        if name not in tensors:
            yield f"{where}: expected {name!r}, got {', '.join(tensors) or 'none'}"
        elif wanted:
            yield from _channels(where, tensors[name], wanted)
    if predicts := manifest.components.get(denoiser.component):
        for tensor in predicts.outputs:  # whose channels may be a symbol in a folder of optimum's
            if not (len(tensor.shape) == 4 and isinstance(tensor.shape[1], str)):
                where = f"components.{denoiser.component}.outputs"
                yield from _channels(where, tensor, (latents.channels,))


def _channels(where: str, tensor: Tensor, wanted: tuple[int, ...]) -> Iterator[str]:
    if len(tensor.shape) != 4 or tensor.shape[1] not in wanted:
        channels, shape = " or ".join(map(str, wanted)), written_shape(tensor.shape)
        yield f"{where}: {tensor.name!r}: expected (batch, {channels}, height, width), got {shape}"


def _one_of(names: Iterable[str]) -> str:
    """`'a', 'b' or 'c'`."""
    *others, last = map(repr, names)
    return f"{', '.join(others)} or {last}" if others else last


def _adapter(manifest: Manifest) -> Iterator[str]:
    """An adapter, and what makes tokens of pictures for it."""
    for name in layout.REFERENCES:
        if (name in manifest.components) != (manifest.ip_adapter is not None):
            yield f"components.{name}: expected with ip_adapter, and without it not"
    adapter = manifest.ip_adapter
    if adapter is not None and not _is_sha256(adapter.sha256):
        yield "ip_adapter.sha256: expected 64 lower-case hexadecimal digits"
    if adapter is not None and not 1 <= adapter.tokens <= LARGEST_DIMENSION:
        yield f"ip_adapter.tokens: expected a positive number, got {adapter.tokens}"


def _tensors(where: str, component: Component) -> Iterator[str]:
    if not component.inputs or not component.outputs:
        yield f"{where}: expected at least one input and one output"
    names = [tensor.name for tensor in (*component.inputs, *component.outputs)]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{where}: the tensor {name!r} stands twice"
    for tensor in (*component.inputs, *component.outputs):
        for dimension in tensor.shape:
            if isinstance(dimension, str):
                if dimension not in component.ranges:
                    yield f"{where}.ranges.{dimension}: missing; {tensor.name!r} has that dimension"
            elif not 1 <= dimension <= LARGEST_DIMENSION:
                yield f"{where}: {tensor.name!r} has the impossible dimension {dimension}"


def _range(where: str, values: Range) -> Iterator[str]:
    low, high, multiple = values.minimum, values.maximum, values.multiple
    if not 0 <= low <= high <= LARGEST_DIMENSION or not high:
        yield f"{where}: expected 0 <= minimum <= maximum, got {low} and {high}"
    elif multiple < 1 or low % multiple or high % multiple:
        yield f"{where}: expected both ends to be multiples of {multiple}, got {low} and {high}"


def _parity(where: str, component: Component) -> Iterator[str]:
    if (parity := component.parity) is None:
        return
    if min(parity.max_abs_error, parity.max_abs_reference, parity.limit) < 0:
        yield f"{where}.parity: expected no negative number"
    elif parity.max_abs_error > parity.limit * parity.max_abs_reference:
        yield (
            f"{where}.parity: max_abs_error {parity.max_abs_error:.3g} is over its limit "
            f"{parity.limit * parity.max_abs_reference:.3g}; such a graph is not exported"
        )


def _latents(latents: Latents) -> Iterator[str]:
    if latents.channels < 1 or latents.downscale < 1:
        yield "latents: expected channels and downscale of at least 1"
    elif latents.multiple < 1 or latents.multiple % latents.downscale:
        yield f"latents.multiple: expected a multiple of downscale, got {latents.multiple}"
    if latents.scaling <= 0:
        yield f"latents.scaling: expected a positive number, got {latents.scaling}"
    if (latents.mean is None) != (latents.std is None):
        yield "latents: expected both of mean and std, or neither"
    for name, values in (("mean", latents.mean), ("std", latents.std)):
        if values is not None and len(values) != latents.channels:
            yield f"latents.{name}: expected {latents.channels} values, got {len(values)}"
    if latents.std is not None and min(latents.std, default=1.0) <= 0:
        yield "latents.std: expected positive values"


def _preview(manifest: Manifest) -> Iterator[str]:
    if (rows := manifest.preview) is None:
        return
    channels = manifest.latents.channels
    if len(rows) not in (channels, channels + 1) or any(len(row) != 3 for row in rows):
        yield f"preview: expected {channels} rows of 3 numbers, and at most one row of offsets"


def _text(manifest: Manifest) -> Iterator[str]:
    if not manifest.text.encoders:
        yield "text.encoders: expected at least one"
    for index, encoder in enumerate(manifest.text.encoders):
        yield from _text_encoder(f"text.encoders[{index}]", encoder, manifest)
    for name, value in (
        ("t5_length", manifest.text.t5_length),
        ("t5_width", manifest.text.t5_width),
    ):
        if value is not None and not 1 <= value <= LARGEST_DIMENSION:
            yield f"text.{name}: expected a positive number, got {value}"


def _text_encoder(where: str, encoder: TextEncoder, manifest: Manifest) -> Iterator[str]:
    component = manifest.components.get(encoder.component)
    if component is None:
        yield f"{where}.component: {encoder.component!r} is not listed in components"
    else:
        outputs = [tensor.name for tensor in component.outputs]
        for field, name in (("hidden", encoder.hidden), ("pooled", encoder.pooled)):
            if name is not None and name not in outputs:
                yield f"{where}.{field}: {encoder.component} has no output {name!r}"
    if not 1 <= encoder.length <= LARGEST_DIMENSION:
        yield f"{where}.length: expected a positive number, got {encoder.length}"
    if not 0 <= encoder.pad_token_id <= LARGEST_DIMENSION:
        yield f"{where}.pad_token_id: expected 0 or more, got {encoder.pad_token_id}"


def _defaults(manifest: Manifest) -> Iterator[str]:
    defaults = manifest.defaults
    if not 1 <= defaults.steps <= 1000:
        yield f"defaults.steps: expected 1 to 1000, got {defaults.steps}"
    if not 0 <= defaults.strength <= 1:
        yield f"defaults.strength: expected 0 to 1, got {defaults.strength}"
    if not 0 <= defaults.guidance_scale <= 1000:
        yield f"defaults.guidance_scale: expected 0 to 1000, got {defaults.guidance_scale}"
    width = manifest.guidance_embedding_width
    if width is not None and not 1 <= width <= LARGEST_DIMENSION:
        yield f"guidance_embedding_width: expected a positive number, got {width}"


def _provenance(manifest: Manifest) -> Iterator[str]:
    if not _is_sha256(manifest.source.sha256):
        yield "source.sha256: expected 64 lower-case hexadecimal digits"
    for index, lora in enumerate(manifest.loras):
        if not _is_sha256(lora.sha256):
            yield f"loras[{index}].sha256: expected 64 lower-case hexadecimal digits"
        if not math.isfinite(lora.weight):
            yield f"loras[{index}].weight: expected a finite number"


def _is_sha256(text: str) -> bool:
    return len(text) == 64 and not text.strip("0123456789abcdef")

"""Which architecture a checkpoint is of, by its tensors' names and shapes alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from overpaint.bundle import layout
from overpaint.bundle.checkpoint.match import Resolved, resolve
from overpaint.bundle.checkpoint.tensors import Tensors
from overpaint.bundle.errors import CheckpointError
from overpaint.bundle.families import FAMILIES
from overpaint.bundle.graph.weights import Slot

from .library import Library

TensorsOf: TypeAlias = Callable[[str, str], Tensors | None]
"""(family, component of the checkpoint) -> its tensors, or None where it has no such component."""

_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class Recognised:
    """`names`: the architectures that have exactly these tensors, variants of one another.

    `components`: where the weights lie, by the checkpoint's component (the VAE is `vae`).
    """

    names: tuple[str, ...]
    components: Mapping[str, Resolved]


def recognise(library: Library, tensors_of: TensorsOf, label: str) -> Recognised:
    """Compare a checkpoint with every architecture of the library.

    Raises:
        CheckpointError: it is of none of them; the message has the nearest, and what differs.
    """
    nearest: tuple[float, str, dict[str, Resolved]] | None = None
    for names in _groups(library):
        components = _compare(library, names[0], tensors_of)
        if all(one.complete for one in components.values()):
            return Recognised(names, components)
        score = sum(len(one.found) - one.wrong for one in components.values())
        if nearest is None or score > nearest[0]:
            nearest = (score, names[0], components)
    if nearest is None or not any(one.found for one in nearest[2].values()):
        raise CheckpointError(
            f"{label} holds no model that is known here; {_known(library)} are. A LoRA is given "
            "with --lora, beside the checkpoint that it was made for"
        )
    _, name, components = nearest
    differences = "; ".join(_differences(components))
    raise CheckpointError(
        f"{label} is nearest to {library.architectures[name].like}, but {differences}. "
        f"Known here: {_known(library)}; overpaint export, which needs torch, takes what has a "
        "diffusers folder"
    )


def slots_of(library: Library, name: str, component: str) -> dict[str, Slot]:
    """The weights of a checkpoint's component: those of its graph, or of the VAE's two."""
    graphs = next(iter(library.architectures[name].graphs.values()))
    parts = (layout.VAE_ENCODER, layout.VAE_DECODER) if component == "vae" else (component,)
    return {key: slot for part in parts for key, slot in library.slots(graphs[part]).items()}


def _groups(library: Library) -> list[tuple[str, ...]]:
    """The architectures, those with the same graphs together."""
    groups: dict[str, list[str]] = {}
    for name, architecture in library.architectures.items():
        groups.setdefault(repr(architecture.graphs), []).append(name)
    return [tuple(names) for names in groups.values()]


def _compare(library: Library, name: str, tensors_of: TensorsOf) -> dict[str, Resolved]:
    architecture = library.architectures[name]
    optional = FAMILIES[architecture.family].optional
    resolved = {}
    for component in architecture.configs:
        tensors = tensors_of(architecture.family, component)
        if component in optional and (tensors is None or not tensors.stored):
            continue
        slots = slots_of(library, name, component)
        resolved[component] = resolve(
            slots,
            tensors or Tensors({}, lambda names: lambda name: iter(())),
            layers=architecture.configs[component].get("num_hidden_layers", 0),
        )
    return resolved


def _differences(components: Mapping[str, Resolved]) -> Iterator[str]:
    for component, one in components.items():
        if one.complete:
            continue
        if not one.found:
            yield f"it has no {component}"
            continue
        parts = (
            ("lacks {}", one.missing),
            ("has shapes of another model ({})", one.mismatched),
            ("has more than it should ({})", one.unused),
        )
        wrong = " and ".join(text.format(_list(names)) for text, names in parts if names)
        yield f"its {component} {wrong}"


def _list(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _known(library: Library) -> str:
    return ", ".join(library.architectures)

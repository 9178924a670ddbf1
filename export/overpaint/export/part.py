"""A graph to be: a network as a function of plain tensors, with their names, shapes and ranges.

Tensor names are those of optimum's exporter, so that its pipelines open our bundles. Whatever a
network computes in, floating-point tensors go in and out as float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import diffusers
import torch
import transformers
from torch import nn

from overpaint.bundle.tensor import DType, Range, Tensor

BATCH: Final = Range(minimum=1, maximum=32)
LATENT_SIDE: Final = 512
CONTEXT: Final = Range(minimum=1, maximum=4096)

Config = dict[str, Any]


class Wrapper(nn.Module):
    """`net` with tensors of the given names, in order, for `forward`: what is traced, and what
    parity is measured with."""

    rounded_later: ClassVar[frozenset[str]] = frozenset()
    """Inputs that a network rounds itself, once it has embedded the times in float32: half
    precision has too few digits for them, and the pooled text is joined to them."""

    def __init__(self, net: Any, names: tuple[str, ...]) -> None:
        super().__init__()
        self.net = net
        self.names = names

    def weight_name(self, name: str) -> str:
        """What a checkpoint calls the parameter that is `name` here."""
        return name.removeprefix("net.")

    def feed(self, tensors: tuple[torch.Tensor, ...]) -> dict[str, torch.Tensor]:
        """The inputs by name, in the network's own precision."""
        dtype = next(p.dtype for p in self.parameters() if p.is_floating_point())
        return {
            name: tensor.to(dtype)
            if tensor.is_floating_point() and name not in self.rounded_later
            else tensor
            for name, tensor in zip(self.names, tensors, strict=True)
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One graph to be: `component` of the bundle, from `source` of the checkpoint.

    `class_name` is diffusers' or transformers' class of the network, `config` its configuration.
    `reduced` makes the same part of a narrow and shallow network with every kind of module.
    """

    component: str
    source: str
    class_name: str
    config: Config
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    ranges: dict[str, Range]
    compute: DType
    wrapper: type[Wrapper]
    reduced: Callable[[], Part]

    @property
    def dtype(self) -> torch.dtype:
        """What the graph computes in."""
        return getattr(torch, self.compute)  # type: ignore[no-any-return]

    def make(self) -> Any:
        """The network without trained weights, on the device that torch is told to use."""
        network = _network(self.class_name)
        if hasattr(network, "from_config"):
            return network.from_config(self.config)
        return network(network.config_class.from_dict(self.config))

    def load(self, folder: Path, variant: str | None) -> Any:
        """The network with the weights in `folder`, in float32."""
        return _network(self.class_name).from_pretrained(
            folder, torch_dtype=torch.float32, variant=variant, use_safetensors=True
        )

    def module(self, net: Any) -> Wrapper:
        """`net` as a function of this part's inputs."""
        return self.wrapper(net, tuple(tensor.name for tensor in self.inputs)).eval()


def float32(name: str, *shape: int | str) -> Tensor:
    """A tensor that goes in or out."""
    return Tensor(name=name, dtype="float32", shape=shape)


def latent_ranges(side: int = LATENT_SIDE, multiple: int = 1) -> dict[str, Range]:
    """The sides of latents, up to `side` cells."""
    values = Range(minimum=multiple, maximum=side - side % multiple, multiple=multiple)
    return {"latent_height": values, "latent_width": values}


def _network(class_name: str) -> Any:
    library = transformers if hasattr(transformers, class_name) else diffusers
    return getattr(library, class_name)

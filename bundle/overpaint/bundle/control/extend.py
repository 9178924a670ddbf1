"""The bundle that runs with control networks: a base's, its denoiser's graph with residual inputs,
and the networks beside it as components of their own.

    folder = controlled(bundle, {"canny": open_controlnet("bundles/canny")})

So what a backend, a plan or `overpaint info` does for a component it does for these. Weights are
linked: the networks' as the base's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from overpaint.bundle import layout
from overpaint.bundle.checkpoint.link import place
from overpaint.bundle.errors import BundleError, UsageError
from overpaint.bundle.extended import extended
from overpaint.bundle.files.hashing import Progress
from overpaint.bundle.files.json import read_json
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.controlnet import ControlNet
from overpaint.bundle.format.manifest import Component, Manifest
from overpaint.bundle.format.manifest_file import encode, read_controlnet

from .open import ControlBundle
from .residuals import with_residuals

_FORMAT: Final = "1"  # raise it when the same files would make other bundles


def controlled(
    bundle: Bundle, networks: Mapping[str, ControlBundle], progress: Progress | None = None
) -> Path:
    """The folder of `bundle` with `networks`, by their names, in the user's cache.

    Raises:
        UsageError: a network is for other denoisers.
        BundleError: the denoiser's graph cannot take residuals.
    """
    key = [_FORMAT]
    for name, network in sorted(networks.items()):
        check_fits(bundle.manifest, network.manifest, name)
        key += [name, hashlib.sha256(encode(network.manifest)).hexdigest()]

    def edit(folder: Path, manifest: Manifest) -> Manifest:
        components = dict(manifest.components)
        try:
            components[manifest.denoiser] = _denoiser(folder, manifest)
        except BundleError as error:
            raise BundleError(f"{bundle.folder}: {error}") from None
        for name, network in networks.items():
            components |= _beside(folder, name, network)
        return msgspec.structs.replace(manifest, components=components)

    return extended(bundle, "control", key, edit, progress)


def networks_of(bundle: Bundle) -> dict[str, ControlNet]:
    """The control networks of a bundle that `controlled` made, by name; none, of any other."""
    names = dict.fromkeys(layout.controls(one) for one in bundle.manifest.components)
    return {
        name: read_controlnet(bundle.folder / f"{layout.CONTROLNET}-{name}")
        for name in names
        if name is not None
    }


def check_fits(manifest: Manifest, network: ControlNet, name: str) -> None:
    """Raise UsageError where a network was not trained beside such denoisers."""
    if why := misfit(manifest, network):
        raise UsageError(f"control {name}: {why}")


def misfit(manifest: Manifest, network: ControlNet) -> str | None:
    """Why a network cannot control a bundle's denoiser; None where it can."""
    if manifest.family != network.family:
        return f"it is for {network.family}, and {manifest.name} is {manifest.family}"
    theirs = {one.name: one for one in manifest.components[manifest.denoiser].inputs}
    for one in network.components[layout.CONTROLNET].inputs:
        other = theirs.get(one.name)
        if other is not None and one.shape[2:] and one.shape[2:] != other.shape[2:]:
            return (
                f"it reads {one}, and the denoiser of {manifest.name} {other}: it is for another "
                "model"
            )
        if one.name == layout.HINT and layout.HINT not in network.components:
            seen, channels = one.shape[1], manifest.latents.channels
            if seen not in (channels, channels + 1):
                return f"it sees {seen} channels of latents, and there are {channels}"
    if layout.HINT in network.components:
        side, cell = (
            network.components[layout.HINT].ranges.get("height"),
            manifest.latents.downscale,
        )
        if side is None or side.multiple != cell:
            got = "none" if side is None else side.multiple
            return f"its hint has cells of {got} pixels a side, and latents of {cell}"
    return None


def _denoiser(folder: Path, manifest: Manifest) -> Component:
    """The denoiser's graph in `folder`, made to take residuals."""
    component = manifest.components[manifest.denoiser]
    graph = folder / component.graph
    config = read_json(graph.parent / layout.CONFIG)
    model, changed = with_residuals(graph.read_bytes(), component, config)
    graph.unlink()  # it may be a link to the graph that it was made from
    graph.write_bytes(model)
    return changed


def _beside(folder: Path, name: str, network: ControlBundle) -> dict[str, Component]:
    """A network's files linked into `folder`, and its components as that bundle calls them."""
    found = {}
    for component, entry in network.manifest.components.items():
        here = f"{component}-{name}"
        for path in network.manifest.files:
            if path.startswith(f"{component}/"):
                place(network.folder / path, folder / here / path.removeprefix(f"{component}/"))
        found[here] = msgspec.structs.replace(entry, graph=layout.graph_path(here))
    about = folder / f"{layout.CONTROLNET}-{name}" / layout.MANIFEST
    about.write_bytes(encode(network.manifest))
    return found

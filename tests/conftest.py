"""What every room's tests stand on: tiny checkpoints and their bundles, built once a run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pytest
from tests.checkout import HOUSE

from . import kept

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

BuildOnce: TypeAlias = Callable[[str, Callable[[Path], object]], Path]
Export: TypeAlias = Callable[..., Path]

FAMILIES = {
    "sd1": "tiny_sd1",
    "sd2": "tiny_sd2",
    "sdxl": "tiny_sdxl",
    "sdxl-refiner": "tiny_refiner",
    "sd3": "tiny_sd3",
    "flux1": "tiny_flux1",
    "z-image": "tiny_z_image",
    "flux2-klein": "tiny_klein",
}
"""Each family's tiny checkpoint: the name of its fixture."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How far pictures were from diffusers', where a run compared any (docs/families.md)."""
    parity = sys.modules.get("tests.parity")
    rows = sorted(parity.MEASURED.items()) if parity else []
    if rows:
        terminalreporter.section("largest difference from diffusers, in 255ths")
    for (family, pipeline), found in rows:
        terminalreporter.write_line(f"{family}, {pipeline}: {max(found)} in {len(found)} pictures")


@pytest.fixture
def hearing_signals() -> Iterator[None]:
    """For tests that press Ctrl-C or hang up: a shell starts its background jobs deaf to both, and
    what ran before in this process may have left handlers of its own."""
    wanted = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    former = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    yield
    for number, handler in former.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def build_once(tmp_path_factory: pytest.TempPathFactory) -> BuildOnce:
    """Build a folder once per test run, whichever worker comes first; the others wait for it."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder = root / "built"
    folder.mkdir(exist_ok=True)
    return lambda name, make: kept.build(folder / name, make)


@pytest.fixture(scope="session")
def dist(build_once: BuildOnce) -> Path:
    """What would be published: the sdist, and the wheel that is made of it."""

    def build(to: Path) -> None:
        command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", to, HOUSE]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    return build_once("dist", build)


@pytest.fixture(scope="session")
def export_remembering(pytestconfig: pytest.Config) -> Callable[..., object]:
    """`export_checkpoint`, but graphs that were traced in an earlier run are not traced again."""
    folder = pytestconfig.cache.mkdir("graphs")  # type: ignore[union-attr]

    def export(checkpoint: Path, output: Path, **options: object) -> object:
        from overpaint.export import bundle

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bundle, "trace", kept.remembering(bundle.trace, folder))
            return bundle.export_checkpoint(checkpoint, output, **options)  # type: ignore[arg-type]

    return export


@pytest.fixture(scope="session")
def controlnet(
    request: pytest.FixtureRequest, build_once: BuildOnce, pytestconfig: pytest.Config
) -> Callable[..., Tiny]:
    """A tiny control network for a family's tiny checkpoint, called `name`: its diffusers folder,
    and its bundle."""
    graphs = pytestconfig.cache.mkdir("graphs")  # type: ignore[union-attr]

    def make(family: str, name: str, *, dtype: str = "float32", **options: object) -> Tiny:
        from tests.controlnets import tiny_controlnet

        from overpaint.export import bundle
        from overpaint.export.control import export_controlnet

        checkpoint = request.getfixturevalue(FAMILIES[family])
        folder = build_once(
            f"{family}-{name}-controlnet",
            lambda to: tiny_controlnet(checkpoint, to, **options),  # type: ignore[arg-type]
        )
        with pytest.MonkeyPatch.context() as patch:
            tracing = kept.remembering(bundle.trace, graphs, kept.CONTROL_TRACING)
            patch.setattr(bundle, "trace", tracing)
            whole = build_once(
                f"{family}-{dtype}-networks-{name}",
                lambda to: export_controlnet(folder, to / name, dtype=dtype),
            )
        return Tiny(folder, whole / name)

    return make


@pytest.fixture(scope="session")
def exported(
    build_once: BuildOnce, export_remembering: Callable[..., object], pytestconfig: pytest.Config
) -> Export:
    """Export a checkpoint to a bundle that a test may look at but not change."""
    folder = pytestconfig.cache.mkdir("bundles")  # type: ignore[union-attr]

    def export(name: str, checkpoint: Path, **options: object) -> Path:
        bundle = kept.build(
            folder / f"{name}-{kept.key(kept.EXPORTING, repr(options))}",
            lambda to: export_remembering(checkpoint, to, **options),
        )
        return build_once(name, lambda to: shutil.copytree(bundle, to))

    return export


@pytest.fixture(scope="session")
def tiny_sd1(build_once: BuildOnce) -> Path:
    """A Stable Diffusion 1 checkpoint: a diffusers folder."""
    return _checkpoint(build_once, "sd1")


@pytest.fixture(scope="session")
def tiny_sd1_bundle(tiny_sd1: Path, exported: Export) -> Path:
    """Its bundle, in float32."""
    return exported("sd1.bundle", tiny_sd1)


@pytest.fixture(scope="session")
def tiny_sd2(build_once: BuildOnce) -> Path:
    """Stable Diffusion 2: v-prediction, an OpenCLIP-like encoder that pads with `!`."""
    return _checkpoint(build_once, "sd2")


@pytest.fixture(scope="session")
def tiny_sd2_bundle(tiny_sd2: Path, exported: Export) -> Path:
    """Its bundle, in float32."""
    return exported("sd2.bundle", tiny_sd2)


@pytest.fixture(scope="session")
def tiny_sdxl(build_once: BuildOnce) -> Path:
    """Stable Diffusion XL: two text encoders, time ids, a VAE that wants float32."""
    return _checkpoint(build_once, "sdxl")


@pytest.fixture(scope="session")
def tiny_sdxl_bundle(tiny_sdxl: Path, exported: Export) -> Path:
    """Its bundle, in float32."""
    return exported("sdxl.bundle", tiny_sdxl)


@pytest.fixture(scope="session")
def tiny_refiner(build_once: BuildOnce) -> Path:
    """SDXL's refiner: the second text encoder alone, an aesthetic score in the time ids."""
    return _checkpoint(build_once, "sdxl-refiner")


@pytest.fixture(scope="session")
def tiny_refiner_bundle(tiny_refiner: Path, exported: Export) -> Path:
    """Its bundle, in float32."""
    return exported("sdxl-refiner.bundle", tiny_refiner)


@pytest.fixture(scope="session")
def tiny_sd3(build_once: BuildOnce) -> Path:
    """Stable Diffusion 3: two CLIP encoders and T5, an MMDiT, flow matching."""
    return _checkpoint(build_once, "sd3")


@pytest.fixture(scope="session")
def tiny_sd3_bundle(tiny_sd3: Path, exported: Export) -> Path:
    """Its bundle, in float32."""
    return exported("sd3.bundle", tiny_sd3)


@pytest.fixture(scope="session")
def tiny_flux1(build_once: BuildOnce) -> Path:
    """FLUX.1 dev: two kinds of blocks, CLIP's pooled vector and T5, guidance as an input."""
    return _checkpoint(build_once, "flux1")


@pytest.fixture(scope="session")
def tiny_flux1_bundle(tiny_flux1: Path, exported: Export) -> Path:
    """Its bundle, in float32."""
    return exported("flux1.bundle", tiny_flux1)


@pytest.fixture(scope="session")
def tiny_schnell(build_once: BuildOnce) -> Path:
    """FLUX.1 schnell: the same without guidance, for four steps."""
    from tests.checkpoints import tiny_checkpoint

    return build_once("schnell", lambda folder: tiny_checkpoint("flux1", folder, turbo=True))


@pytest.fixture(scope="session")
def tiny_schnell_bundle(tiny_schnell: Path, exported: Export) -> Path:
    """Its bundle, in float32."""
    return exported("schnell.bundle", tiny_schnell)


@pytest.fixture(scope="session")
def tiny_z_image(build_once: BuildOnce) -> Path:
    """Z-Image-Turbo: Qwen3, one stream of picture and caption, for eight steps."""
    from tests.checkpoints import tiny_checkpoint

    return build_once("z-image", lambda folder: tiny_checkpoint("z-image", folder, turbo=True))


@pytest.fixture(scope="session")
def tiny_z_image_bundle(tiny_z_image: Path, exported: Export) -> Path:
    """Its bundle, in float32."""
    return exported("z-image.bundle", tiny_z_image)


@pytest.fixture(scope="session")
def tiny_klein(build_once: BuildOnce) -> Path:
    """FLUX.2 klein: latents of four cells as one, three of Qwen3's states, for four steps."""
    from tests.checkpoints import tiny_checkpoint

    return build_once("klein", lambda folder: tiny_checkpoint("flux2-klein", folder, turbo=True))


@pytest.fixture(scope="session")
def tiny_klein_bundle(tiny_klein: Path, exported: Export) -> Path:
    """Its bundle, in float32."""
    return exported("klein.bundle", tiny_klein)


@dataclass(frozen=True, slots=True)
class Tiny:
    """A checkpoint, and its bundle in float32 with the same weights to the bit."""

    checkpoint: Path
    bundle: Path


@dataclass(frozen=True, slots=True)
class Seeing(Tiny):
    """The same with an IP-Adapter's file, and the bundle of that."""

    file: Path
    adapter: Path


Adapters: TypeAlias = Callable[[str, str], Seeing]


@pytest.fixture(scope="session")
def inpainting(build_once: BuildOnce, exported: Export) -> Callable[[str], Tiny]:
    """A family's inpainting checkpoint, whose denoiser sees the mask and the masked picture."""

    def make(family: str) -> Tiny:
        from tests.checkpoints import tiny_checkpoint

        name = f"{family}-inpainting"
        checkpoint = build_once(
            name,
            lambda folder: tiny_checkpoint(family, folder, inpainting=True),  # type: ignore[arg-type]
        )
        bundle = exported(f"{name}.bundle", checkpoint)
        again = build_once(f"{name}-again", lambda to: _with_weights_of(bundle, checkpoint, to))
        return Tiny(again, bundle)

    return make


@pytest.fixture(scope="session")
def bundles(request: pytest.FixtureRequest) -> dict[str, Path]:
    """All of them; two workers begin at either end, and do not wait for each other."""
    families = list(FAMILIES)
    if os.environ.get("PYTEST_XDIST_WORKER") == "gw1":
        families.reverse()
    made = {one: request.getfixturevalue(f"{FAMILIES[one]}_bundle") for one in families}
    return {family: made[family] for family in FAMILIES}


@pytest.fixture(scope="session")
def checkpoints(
    request: pytest.FixtureRequest,
    bundles: dict[str, Path],
    build_once: Callable[[str, Callable[[Path], object]], Path],
) -> dict[str, Path]:
    """Those that the bundles were exported from, to the bit."""

    def restore(family: str, name: str, folder: Path) -> None:
        _with_weights_of(bundles[family], request.getfixturevalue(name), folder)

    return {
        family: build_once(f"{family}-again", lambda to, f=family, n=name: restore(f, n, to))  # type: ignore[misc]
        for family, name in FAMILIES.items()
    }


@pytest.fixture(scope="session")
def adapters(build_once: BuildOnce, request: pytest.FixtureRequest) -> Adapters:
    """IP-Adapters of a family and kind ("base", "plus"), made when they are asked for."""

    def make(family: str, kind: str) -> Seeing:
        from tests.adapters import FILE, tiny_adapter

        from overpaint.bundle.ip_adapter.make import import_adapter

        name, own = f"{family}-{kind}.adapter", FAMILIES[family]
        bundle = request.getfixturevalue(f"{own}_bundle")
        checkpoint = build_once(
            f"{family}-again-alone",
            lambda to: _with_weights_of(bundle, request.getfixturevalue(own), to),
        )
        folder = build_once(name, lambda to: tiny_adapter(checkpoint, to, kind))  # type: ignore[arg-type]
        adapter = build_once(f"{name}-bundle", lambda to: import_adapter(folder, to))
        return Seeing(checkpoint, bundle, folder / FILE, adapter)

    return make


def _with_weights_of(bundle: Path, checkpoint: Path, folder: Path) -> None:
    """The checkpoint that `bundle` was exported from, in `folder`.

    A bundle may be kept from an earlier run, and a checkpoint that another process calibrated has
    other last digits: the weights are the bundle's own.
    """
    shutil.copytree(checkpoint, folder)
    for file in bundle.glob("*/*.safetensors"):
        component = "vae" if file.parent.name.startswith("vae_") else file.parent.name
        shutil.copyfile(file, folder / component / file.name)


def _checkpoint(build_once: BuildOnce, family: str) -> Path:
    from tests.checkpoints import tiny_checkpoint

    return build_once(family, lambda folder: tiny_checkpoint(family, folder))  # type: ignore[arg-type]

"""A denoiser's engine in 8 bits: quantised once, calibrated by a bundle's own runs, and kept in it.

    feeds = Feeds()
    with recording_session(bundle, feeds): …    # whose runs fill them
    quantise(bundle, feeds, folder)
    int8_session(bundle, "unet", folder)

NNCF puts what multiplies (convolutions, products) in 8 bits where the processor has such arithmetic
(VNNI), after moving outliers of activations into weights: SmoothQuant, arXiv:2211.10438. What
stands between them, and attention's own products, is computed in bfloat16 where there is such, else
in float32; so are the first and the last convolution, which see latents.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from overpaint.bundle import layout
from overpaint.bundle.arrays import Array
from overpaint.bundle.errors import MissingExtraError, SessionError
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.plans import origin
from overpaint.engines.session.session import Session

from .bf16 import computed_here
from .compiled import IR, import_openvino, the_core
from .engine import OpenVinoEngine, openvino_session
from .rewrites import simplify

TARGET: Final = "openvino-int8"
RECORD: Final = "build.json"
_PLACE: Final = f"{layout.PLANS}/{TARGET}"


WHOLE: Final = ("Convolution", "MatMul")
CONVOLUTIONS: Final = ("Convolution",)
"""What is put in 8 bits: all that multiplies, or where pictures do not survive that, less of it."""


class Feeds(list[Mapping[str, Array]]):
    """What a denoiser was fed, call by call."""


class Int8Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`build.json`. `made_of`: what the graph was made of, by component. `quantised`: the
    kinds of layers in 8 bits. `psnr_db`: how near pictures are to those in float32."""

    openvino: str
    nncf: str
    quantised: tuple[str, ...]
    made_of: dict[str, str]
    psnr_db: float


def recording_session(bundle: Bundle, feeds: Feeds) -> Session:
    """The denoiser's session in float32, which puts a copy of each feed that it runs in `feeds`."""
    name = bundle.manifest.denoiser
    component = bundle.component(name)
    engine = OpenVinoEngine(name, bundle.path(component.graph), component, "f32", None)
    return Session(name, component, _Recording(engine, feeds))


class _Recording:
    def __init__(self, engine: OpenVinoEngine, feeds: Feeds) -> None:
        self.device = engine.device
        self._engine = engine
        self._feeds = feeds

    def run(self, feed: Mapping[str, Array], held: Mapping[str, Array]) -> Mapping[str, Array]:
        self._feeds.append({name: array.copy() for name, array in feed.items()})
        return self._engine.run(feed, held)

    def close(self) -> None:
        self._engine.close()


def quantise(bundle: Bundle, feeds: Feeds, folder: Path, kinds: tuple[str, ...] = WHOLE) -> None:
    """Write the denoiser of `bundle` into `folder`, its layers of these kinds in 8 bits, whose
    ranges are measured on `feeds`.

    Raises:
        MissingExtraError: nncf is not installed.
        SessionError: it cannot quantise the graph.
    """
    nncf = import_nncf()
    openvino, name = import_openvino(), bundle.manifest.denoiser
    model = the_core().read_model(str(bundle.path(bundle.component(name).graph)))
    simplify(model, openvino, any_size=True)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # bars of its own
            quantised = nncf.quantize(
                model,
                nncf.Dataset([dict(feed) for feed in feeds]),
                model_type=nncf.ModelType.TRANSFORMER,
                preset=nncf.QuantizationPreset.MIXED,
                subset_size=len(feeds),
                advanced_parameters=nncf.AdvancedQuantizationParameters(
                    smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(-1, -1)
                ),
                ignored_scope=nncf.IgnoredScope(names=_edges(model), types=_but(kinds)),
            )
    except Exception as error:  # nncf's exceptions share no base of their own
        raise SessionError(f"{name}: nncf cannot quantise it: {error}") from error
    openvino.save_model(quantised, folder / f"{name}{IR}", compress_to_fp16=False)
    (folder / f"{name}.bin").rename(folder / f"{name}.weights")


def write_record(
    bundle: Bundle, folder: Path, kinds: tuple[str, ...], psnr_db: float
) -> Int8Record:
    """Write and return what was built into `folder`."""
    from importlib.metadata import version

    name = bundle.manifest.denoiser
    record = Int8Record(
        openvino=version("openvino"),
        nncf=version("nncf"),
        quantised=kinds,
        made_of={name: origin(bundle.manifest, name)},
        psnr_db=round(psnr_db, 2),
    )
    (folder / RECORD).write_bytes(msgspec.json.format(msgspec.json.encode(record)) + b"\n")
    return record


def read_record(bundle: Bundle) -> Int8Record | None:
    """What was built for this bundle as it is; None where nothing was."""
    if f"{_PLACE}/{RECORD}" not in bundle.manifest.files:
        return None
    record = msgspec.json.decode(bundle.path(f"{_PLACE}/{RECORD}").read_bytes(), type=Int8Record)
    name = bundle.manifest.denoiser
    return record if record.made_of.get(name) == origin(bundle.manifest, name) else None


def kept_in(bundle: Bundle) -> Path:
    """The folder in which a bundle keeps what was built for it."""
    return bundle.folder / _PLACE


def int8_session(bundle: Bundle, component: str, folder: Path) -> Session:
    """A component's session, the denoiser's from what was built into `folder`; the others are in
    bfloat16 where the processor computes in it."""
    described = bundle.component(component)
    graph = bundle.folder / described.graph
    if component == bundle.manifest.denoiser:
        graph = folder / f"{component}{IR}"
        if not graph.is_file():  # of a bundle that was made of another, with a LoRA say
            raise SessionError(
                f"{component}: nothing in 8 bits was built for {bundle.folder}; "
                "use --precision bf16"
            )
    precision = "bf16" if computed_here() else "f32"
    return openvino_session(component, graph, described, precision=precision)


def _edges(model: Any) -> list[str]:
    """The first and the last convolution, where the graph has such."""
    names = [
        node.get_friendly_name()
        for node in model.get_ordered_ops()
        if node.get_type_name() == "Convolution"
    ]
    return [names[0], names[-1]] if names else []


def _but(kinds: tuple[str, ...]) -> list[str]:
    return [kind for kind in WHOLE if kind not in kinds]


def import_nncf() -> Any:
    """Raises MissingExtraError: it is not installed."""
    try:
        import nncf
    except ImportError as error:
        raise MissingExtraError.told_by(error, "quantise", "nncf") from error
    logging.getLogger("nncf").setLevel(logging.ERROR)
    return nncf

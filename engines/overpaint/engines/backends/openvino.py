"""The processor, by OpenVINO: in float32, bfloat16 or 8 bits, on request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from overpaint.engines.backend import Asked, Backend

if TYPE_CHECKING:
    from overpaint.bundle.format.bundle import Bundle
    from overpaint.engines.session.session import Session


def how(bundle: Bundle) -> str:
    """Raises MissingExtraError: openvino is not installed. It is not imported to find out."""
    from importlib.metadata import version
    from importlib.util import find_spec

    from overpaint.bundle.errors import MissingExtraError
    from overpaint.engines.host.cores import usable_cores
    from overpaint.engines.openvino.bf16 import measured
    from overpaint.engines.openvino.int8 import read_record

    if find_spec("openvino") is None:
        raise MissingExtraError("openvino", "openvino")
    cores, psnr_db = usable_cores(), measured(bundle)
    quality = "not measured yet" if psnr_db is None else f"{psnr_db:.1f} dB against f32"
    said = f"openvino {version('openvino')}, {cores} core{'s' * (cores > 1)}; bf16: {quality}"
    built = read_record(bundle)
    return said if built is None else f"{said}; int8: {built.psnr_db:.1f} dB"


def open_session(bundle: Bundle, component: str, asked: Asked) -> Session:
    """Open one component's engine on the processor. Raises SessionError: as `openvino_session`."""
    from overpaint.engines.openvino.engine import openvino_session
    from overpaint.engines.openvino.int8 import int8_session, kept_in

    if asked.precision == "int8":
        return int8_session(bundle, component, kept_in(bundle))
    described = bundle.component(component)
    graph = bundle.folder / described.graph
    return openvino_session(component, graph, described, precision=asked.precision)


def held(bundle: Bundle, component: str, asked: Asked) -> int:
    """Packed, in what is computed in."""
    from overpaint.bundle.graph.count import weights

    size = {"f32": 4, "bf16": 2, "int8": 1 if component == bundle.manifest.denoiser else 2}
    return size[asked.precision] * weights(bundle.folder / bundle.component(component).graph)


BACKEND = Backend(
    name="openvino",
    rank=None,
    how=how,
    open_session=open_session,
    precisions=("f32", "bf16", "int8"),
    held=held,
)

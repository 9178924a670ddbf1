"""An NVIDIA GPU, by TensorRT and the plans that `overpaint build` puts into a bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from overpaint.engines.backend import Backend

if TYPE_CHECKING:
    from overpaint.bundle.format.bundle import Bundle
    from overpaint.engines.session.session import Session


def how(bundle: Bundle) -> str:
    """TensorRT and CUDA are asked only where there is a plan.

    Raises:
        SessionError: no plan fits this machine; the message says what differs and what mends it.
    """
    from overpaint.bundle.errors import MissingExtraError, SessionError
    from overpaint.bundle.installed import install_command
    from overpaint.engines.tensorrt import choose
    from overpaint.engines.tensorrt.record import build_command

    if not any(path.endswith(".plan") for path in bundle.manifest.files):
        raise SessionError(f"the bundle has no TensorRT plan; make one: {build_command(bundle)}")
    try:
        machine = choose.this_machine()
    except MissingExtraError as error:
        raise SessionError(f"CUDA cannot be asked: {install_command(error.extra)}") from error
    choice = choose.fitting_plans(bundle, machine)
    record, version = choice.record, machine.runtimes[choice.runtime]
    tuned = f", tuned on {record.gpu}" if record.gpu != machine.gpu else ""
    shapes = ", ".join(record.shapes)
    return f"{choice.runtime} {version} on {machine.gpu}, plans for {shapes}{tuned}"


def open_session(bundle: Bundle, component: str, precision: str) -> Session:
    """Open one component's plan.

    Raises:
        SessionError: no plan fits, or it cannot be loaded.
        MissingExtraError: CUDA's Python calls are not installed.
    """
    from overpaint.engines.tensorrt.choose import fitting_plans, this_machine
    from overpaint.engines.tensorrt.engine import tensorrt_session
    from overpaint.engines.tensorrt.libraries import library

    machine = this_machine()
    choice = fitting_plans(bundle, machine)
    return tensorrt_session(bundle, component, choice.record, library(choice.runtime), machine.gpu)


# Its sessions run each size of their plans as they open, so nothing is left for a size's first run.
BACKEND = Backend(name="tensorrt", rank=1, how=how, open_session=open_session)

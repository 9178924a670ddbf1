"""What a backend says to a bundle, and how it opens a component, for both TensorRTs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from overpaint.bundle.errors import MissingExtraError, SessionError
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.installed import install_command

from . import choose
from .edition import Edition
from .libraries import library
from .record import build_command

if TYPE_CHECKING:
    from overpaint.engines.session.session import Session


def how_it_runs(bundle: Bundle, edition: Edition) -> str:
    """How `edition` would run `bundle` here, as a clause. It and CUDA are asked only where there is
    a plan.

    Raises:
        SessionError: no plan fits this machine; the message says what differs and what mends it.
    """
    if not choose.has_plans(bundle, edition):
        command = build_command(bundle, edition)
        quick = ", or with --weightless in seconds, for every fine-tune" * edition.portable
        raise SessionError(f"the bundle has no {edition.title} plan; make one: {command}{quick}")
    try:
        machine = choose.this_machine(edition)
    except MissingExtraError as error:
        cards = choose.served_cards(choose.known_plans(bundle, edition))
        command = install_command(edition.extra)
        raise SessionError(f"CUDA cannot be asked: {command}{cards}") from error
    except SessionError as error:
        cards = choose.served_cards(choose.known_plans(bundle, edition))
        raise SessionError(f"{error}{cards}") from error
    choice = choose.fitting_plans(bundle, edition, machine)
    record, version = choice.plans.record, machine.runtimes[choice.runtime]
    tuned = f", tuned on {record.gpu}" if record.gpu not in (None, machine.gpu) else ""
    shapes, cards = ", ".join(record.shapes), choose.served_cards([choice.plans])
    return f"{choice.runtime} {version} on {machine.gpu}, plans for {shapes}{tuned}{cards}"


def open_plan(
    bundle: Bundle, edition: Edition, component: str, gpu_memory: int | None = None
) -> Session:
    """Open one component's plan.

    Args:
        gpu_memory: bytes of all components' weights that may lie on the GPU; None: all.

    Raises:
        SessionError: no plan fits, or it cannot be loaded.
        MissingExtraError: CUDA's Python calls are not installed.
    """
    from .engine import tensorrt_session

    machine = choose.this_machine(edition)
    choice = choose.fitting_plans(bundle, edition, machine)
    runtime = library(choice.runtime)
    return tensorrt_session(bundle, component, choice.plans, runtime, machine, gpu_memory)

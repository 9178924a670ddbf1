"""How a run went, told picture by picture as it goes, and at its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import typer

from overpaint.bundle.errors import OverpaintError
from overpaint.runtime.result import Result

from .json_output import echo_json
from .output import STANDARD
from .painter import Painted
from .run_options import Options
from .work import Task, Work


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What became of each of `pictures` pictures that `work` asked for.

    Of several, or of a folder's one, every message names its own.
    """

    options: Options
    work: Work
    pictures: int
    _skipped: list[Task] = field(default_factory=list)
    _results: list[dict[str, Any]] = field(default_factory=list)
    _failures: list[tuple[Task, Path | None, OverpaintError]] = field(default_factory=list)
    _begun: set[Task] = field(default_factory=set)
    _not_begun: Sequence[Task] = ()

    def add(self, task: Task, painted: Painted) -> None:
        """Tell of one more picture."""
        self._begun.add(task)
        if painted.there:
            self._skipped.append(task)
        self._failures += [(task, output, error) for output, error in painted.failures]
        if painted.result is not None:
            self._tell_of(task, painted.result, painted.written)

    def stopped(self, tasks: Sequence[Task]) -> None:
        """The disk is full: of `tasks` those that are not begun will not be."""
        self._not_begun = [task for task in tasks if task not in self._begun]

    def _tell_of(self, task: Task, result: Result, written: Sequence[Path]) -> None:
        """Of the images in `result` those at `written` are there now."""
        seeds = [s for s, path in zip(result.seeds, task.outputs, strict=True) if path in written]
        if written:
            self._results.append(_as_data(task, result, written, seeds))
        if not self.options.json:
            for warning in result.warnings:
                typer.echo(f"overpaint: warning: {self._named(task, warning)}", err=True)
            for path, seed in zip(written, seeds, strict=True):
                typer.echo(f"{path}  seed {seed}, {_how(result)}", err=path == STANDARD)

    def tell(self) -> None:
        """Say what is to be said at the end. Raises typer.Exit where not all went well, and the
        error itself where there is nothing else to tell."""
        if not self.work.several and not self._results and len(self._failures) == 1:
            raise self._failures[0][2]
        failures = [
            {
                "image": str(task.image) if task.image else None,
                **({"output": str(output)} if output else {}),
                "error": str(error),
            }
            for task, output, error in self._failures
        ]
        not_begun = [str(task.image) for task in self._not_begun]
        if self.options.json:
            data = {
                "results": self._results,
                "skipped": [str(task.image) for task in self._skipped],
                "failed": failures,
                "not_begun": not_begun,
                "not_pictures": [str(path) for path in self.work.passed_over],
            }
            echo_json(data)
        elif self.work.passed_over:
            typer.echo(f"overpaint: {_passed_over(self.work.passed_over)}", err=True)
        if self._skipped:
            there = f"{len(self._skipped)} of {self.pictures} pictures were there already"
            typer.echo(f"overpaint: {there}", err=True)
        for task, _, error in self._failures:
            typer.echo(f"overpaint: {self._named(task, str(error))}", err=True)
        if not_begun:
            typer.echo(
                f"overpaint: stopped, since the disk is full; not begun: {', '.join(not_begun)}",
                err=True,
            )
        if self._failures:
            typer.echo(f"overpaint: {self._how_many()} failed", err=True)
            raise typer.Exit(1)

    def _how_many(self) -> str:
        if self.work.several:
            failed = {task.outputs for task, _, _ in self._failures}
            return f"{len(failed)} of {self.pictures} pictures"
        [task] = {task for task, _, _ in self._failures}
        return f"{len(self._failures)} of {len(task.outputs)} pictures"

    def _named(self, task: Task, message: str) -> str:
        names = (task.name, *map(str, task.outputs))
        if not self.work.several or message.startswith(tuple(f"{name}: " for name in names)):
            return message
        return f"{task.name}: {message}"


def _passed_over(paths: Sequence[Path]) -> str:
    named = ", ".join(map(str, paths[:3])) + (", …" if len(paths) > 3 else "")
    return f"passed over {len(paths)} that by name are no pictures: {named}"


def _how(result: Result) -> str:
    return (
        f"{result.steps_run} of {result.parameters.resolved.steps} steps{_fewer(result)}, "
        f"{result.timings.total:.2f} s on {result.device}{_quality(result)}"
    )


def _fewer(result: Result) -> str:
    computed, exact = result.evaluations, result.exact_evaluations
    return f" ({computed} of {exact} evaluations)" if computed < exact else ""


def _quality(result: Result) -> str:
    decision, told = result.decision, []
    if decision is not None and decision.psnr_db is not None:
        told.append(f"{decision.psnr_db:.1f} dB against f32")
    if result.fidelity_db is not None:
        told.append(f"{result.fidelity_db:.1f} dB against exact")
    return f" ({', '.join(told)})" if told else ""


def _as_data(
    task: Task, result: Result, written: Sequence[Path], seeds: Sequence[int]
) -> dict[str, Any]:
    parameters = result.parameters.as_dict()
    del parameters["seed"]
    return {
        "image": str(task.image) if task.image else None,
        "outputs": [str(path) for path in written],
        "seeds": seeds,
        **parameters,
        "devices": result.devices,
        "version": version("overpaint"),
        "evaluations": result.evaluations,
        "exact_evaluations": result.exact_evaluations,
        "fidelity_db": result.fidelity_db,
        "passed_over": result.passed_over,
        "psnr_db": result.decision.psnr_db if result.decision else None,
        "timings": {**asdict(result.timings), "denoise": result.timings.denoise},
        "warnings": result.warnings,
    }

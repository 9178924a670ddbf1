"""What `overpaint run` does: read, repaint, write, picture by picture, and say how it went."""

from __future__ import annotations

import contextlib
from collections.abc import Generator

from overpaint.runtime.settings import Settings

from .given import Given
from .outcome import Outcome
from .painter import Order, Painted, Painter
from .plan import Plan, check, plan_of
from .record import remember
from .report import reporting
from .run_options import Options
from .work import read_arguments, work_of_rows


def paint(arguments: list[str], settings: Settings, options: Options) -> None:
    """Whatever can be refused is refused before an engine is opened or a file is written.

    One picture that fails does not stop the others: it is told at the end, and the exit code is 1.
    A full disk stops them.
    """
    if options.rows:
        work = work_of_rows(options.rows, arguments)
    else:
        work = read_arguments(arguments, text_to_image=options.text_to_image)
    check(work, settings, options)
    for one in work.rows:
        one.settings(settings)  # what contradicts itself is told before anything is painted
    given = Given.read(options)
    plan = plan_of(work, settings, options, given)
    outcome = Outcome(options=options, work=work, pictures=len(plan.orders))
    painting = contextlib.closing(_painting(plan, options, given))
    with painting as painted_orders, reporting(options.report) as report:
        for order, painted in painted_orders:
            outcome.add(order.task, painted)
            report(order, painted)
            if painted.disk_full:
                outcome.stopped([one.task for one in plan.orders])
                break
    outcome.tell()


def _painting(
    plan: Plan, options: Options, given: Given
) -> Generator[tuple[Order, Painted], None, None]:
    """Yield what became of each picture."""
    if options.ray is not None:
        from .on_ray import painted_on_ray

        yield from painted_on_ray(plan, options, given, options.ray)
        return
    with Painter(options, given) as painter:
        if plan.run is not None:
            remember(options.output, plan.run.painted_by(painter.engines()), force=options.force)
        for order in plan.orders:
            yield order, painter(order)

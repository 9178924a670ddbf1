"""Every sampler as one table of plain numbers, and the one `advance` that runs it."""

from overpaint.runtime.schedule.config import (
    SchedulerConfig,
    brought_up_to_date,
    read_scheduler_config,
)
from overpaint.runtime.schedule.make import make_schedule
from overpaint.runtime.schedule.resolve import SAMPLERS, SIGMAS
from overpaint.runtime.schedule.step import State, advance, begin, model_input, preview
from overpaint.runtime.schedule.strength import STEPS_MODES
from overpaint.runtime.schedule.table import Clip, Row, Schedule

__all__ = [
    "SAMPLERS",
    "SIGMAS",
    "STEPS_MODES",
    "Clip",
    "Row",
    "Schedule",
    "SchedulerConfig",
    "State",
    "advance",
    "begin",
    "brought_up_to_date",
    "make_schedule",
    "model_input",
    "preview",
    "read_scheduler_config",
]

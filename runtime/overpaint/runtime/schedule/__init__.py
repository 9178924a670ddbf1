"""Every sampler as one table of plain numbers, and the one `advance` that runs it."""

from .config import SchedulerConfig, brought_up_to_date, read_scheduler_config
from .make import make_schedule
from .resolve import SAMPLERS
from .step import State, advance, begin, model_input, preview
from .table import Clip, Row, Schedule

__all__ = [
    "SAMPLERS",
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

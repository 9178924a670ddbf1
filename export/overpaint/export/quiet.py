"""Torch, diffusers and transformers say much while they work; an export has its own progress."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import diffusers
import transformers

_TALKERS: Final = ("torch", "torch.onnx", "torch.utils._sympy", "transformers", "diffusers")


@contextmanager
def quietly() -> Iterator[None]:
    """Hold back warnings, log lines and progress bars of the libraries; errors are still raised."""
    loggers = [logging.getLogger(name) for name in _TALKERS]
    levels = [logger.level for logger in loggers]
    bars = [
        library.utils.logging
        for library in (diffusers, transformers)
        if library.utils.logging.is_progress_bar_enabled()
    ]
    for library in bars:
        library.disable_progress_bar()
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        for library in bars:
            library.enable_progress_bar()

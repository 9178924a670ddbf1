"""Arrays in the dtypes that an engine declares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from overpaint.bundle.arrays import NUMPY_DTYPES
from overpaint.engines.session.session import Session


def as_feed(
    session: Session, arrays: Mapping[str, npt.NDArray[Any]]
) -> dict[str, npt.NDArray[Any]]:
    """`arrays` cast to what `session` declares; names that it does not have are left to it."""
    return {
        name: array.astype(NUMPY_DTYPES[session.inputs[name].dtype], copy=False)
        if name in session.inputs
        else array
        for name, array in arrays.items()
    }


def is_integer(session: Session, name: str) -> bool:
    """Whether the engine takes whole numbers only for `name`."""
    return np.issubdtype(NUMPY_DTYPES[session.inputs[name].dtype], np.integer)

"""An engine of a few lines of NumPy is a whole session: `Session` does what is the same for all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from overpaint.bundle.errors import FeedError, SessionError
from overpaint.bundle.format.manifest import Component
from overpaint.bundle.tensor import Range, Tensor
from overpaint.engines.session.engine import NOTHING
from overpaint.engines.session.session import Session

Array = np.ndarray[Any, Any]


class Scaling:
    """y = scale * x, which notes when `scale` would have to be copied to where it is read."""

    device = "NumPy"

    def __init__(self) -> None:
        self.held: Mapping[str, Array] = NOTHING
        self.copies = self.closings = 0

    def run(self, feed: Mapping[str, Array], held: Mapping[str, Array]) -> Mapping[str, Array]:
        self.copies += held is not self.held or "scale" not in held
        self.held = held
        return {"y": feed["scale"] * feed["x"]}

    def close(self) -> None:
        self.closings += 1


COMPONENT = Component(
    graph="scaling/model.onnx",
    inputs=(
        Tensor(name="x", dtype="float32", shape=("n",)),
        Tensor(name="scale", dtype="float32", shape=(1,)),
    ),
    outputs=(Tensor(name="y", dtype="float32", shape=("n",)),),
    ranges={"n": Range(minimum=1, maximum=4)},
)
X = np.arange(3, dtype=np.float32)


def scale(value: float) -> dict[str, Array]:
    return {"scale": np.array([value], np.float32)}


@pytest.fixture
def engine() -> Scaling:
    return Scaling()


@pytest.fixture
def session(engine: Scaling) -> Session:
    return Session("scaling", COMPONENT, engine)


def test_a_toy_engine_is_checked_and_run(session: Session) -> None:
    np.testing.assert_array_equal(session.run({"x": X, **scale(2)})["y"], 2 * X)
    assert (list(session.inputs), list(session.outputs)) == (["x", "scale"], ["y"])
    with pytest.raises(FeedError, match=r"scaling: expected n of 1 to 4 in 'x', got 9"):
        session.run({"x": np.zeros(9, np.float32), **scale(2)})
    with pytest.raises(FeedError, match="scaling: missing 'scale'"):
        session.run({"x": X})


def test_an_engine_knows_a_binding_by_its_mapping(session: Session, engine: Scaling) -> None:
    two, three = session.bind(scale(2)), session.bind(scale(3))
    for step, factor in ((two, 2), (two, 2), (three, 3), (three, 3), (three, 3), (two, 2)):
        np.testing.assert_array_equal(step({"x": X})["y"], factor * X)
    assert engine.copies == 3
    session.run({"x": X, **scale(5)})
    np.testing.assert_array_equal(two({"x": X})["y"], 2 * X)
    assert engine.copies == 5


def test_what_is_bound_is_a_copy(session: Session) -> None:
    constants = scale(2)
    step = session.bind(constants)
    constants["scale"][:] = 0
    np.testing.assert_array_equal(step({"x": X})["y"], 2 * X)


def test_what_is_bound_is_not_fed_too(session: Session) -> None:
    with pytest.raises(FeedError, match="scaling: 'scale' is bound, and fed all the same"):
        session.bind(scale(2))({"x": X, **scale(3)})


def test_an_engine_is_closed_once_and_its_device_still_told(
    session: Session, engine: Scaling
) -> None:
    step = session.bind(scale(2))
    with session:
        pass
    session.close()
    assert (engine.closings, session.device) == (1, "NumPy")
    for call in (lambda: session.run({"x": X, **scale(2)}), lambda: step({"x": X})):
        with pytest.raises(SessionError, match="scaling: this session is closed"):
            call()
    with pytest.raises(SessionError, match="scaling: this session is closed"):
        session.bind(scale(2))

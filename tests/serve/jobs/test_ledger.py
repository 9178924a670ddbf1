"""What is accepted is read back as it was, pictures and all."""

from __future__ import annotations

from pathlib import Path

from overpaint.runtime.control.control import Control
from overpaint.runtime.settings import Settings
from overpaint.serve.ids import new_id
from overpaint.serve.jobs.ledger import Accepted, Ledger
from overpaint.serve.jobs.protocol import Order


def test_an_order_outlives_its_process_with_all_of_its_pictures(tmp_path: Path) -> None:
    order = Order(
        model="fake",
        prompt="red",
        image=b"picture",
        mask=b"mask",
        control={"canny": Control(b"edges", 0.5, 0.1), "tile": Control(preprocessor="tile")},
        settings=Settings(seed=5, size=(64, 48)),
    )
    job = Accepted(id=new_id(), order=order, bundle="", provider="local", ticket="1")
    Ledger(tmp_path, 10**6, print).put(job)
    [(job_id, found)] = Ledger(tmp_path, 10**6, print).take_up()
    assert (job_id, found) == (job.id, job)

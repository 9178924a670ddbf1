"""AUTOMATIC1111's lines, read for whoever has a picture of theirs."""

from __future__ import annotations

from pathlib import Path

from tests.serve.engine import fake_served
from tests.serve.running import serving

from overpaint.serve.config import Config

LINES = "a (stormy:1.2) lake\nNegative prompt: fog\nSteps: 4, Seed: 7, Size: 64x64, Model: dreams"


def test_the_lines_are_what_a_job_takes(folder: Path) -> None:
    with serving(Config(port=0), [fake_served(folder)]) as server:
        said = server.client.post("/v1/infotext", json={"text": LINES}).json()
        assert said == {
            "prompt": "a (stormy:1.2) lake",
            "settings": {
                "negative_prompt": "fog",
                "steps": 4,
                "seed": 7,
                "size": [64, 64],
                "prompt_weights": True,
            },
            "other": {"Model": "dreams"},
        }
        asked = said["settings"] | {"size": "64x64"}
        job = server.submit(prompt=said["prompt"], **asked)
        assert server.ended(job["id"])["result"]["seeds"] == [7]
        for wrong in ({}, {"text": 7}, {"text": "x" * 50_001}, {"text": "x", "more": 1}):
            assert server.client.post("/v1/infotext", json=wrong).status_code == 422

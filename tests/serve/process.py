"""A server in a process: python -m tests.serve.process PORT FOLDER STEP_SECONDS DRAIN."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from tests.serve.engine import Knobs, fake_served

from overpaint.serve.app import create_app
from overpaint.serve.config import Config
from overpaint.serve.server import run


def main() -> int:
    port, folder, step_seconds, drain = sys.argv[1:]
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    config = Config(
        port=int(port),
        folder=Path(folder) / "results",
        drain_seconds=float(drain),
        queue=64,
    )
    bundle = fake_served(Path(folder) / "bundles", knobs=Knobs(step_seconds=float(step_seconds)))
    return run(create_app(config, [bundle]), config)


if __name__ == "__main__":
    sys.exit(main())

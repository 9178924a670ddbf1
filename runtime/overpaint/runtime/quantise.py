"""A bundle's denoiser in 8 bits: calibrated by a run, compared, and kept in the bundle."""

from __future__ import annotations

import logging
from typing import Final

from overpaint.bundle.errors import SessionError
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.plans import check_listable, new_plans
from overpaint.engines.choose import choose, open_session
from overpaint.engines.openvino.bf16 import BAR_DB
from overpaint.engines.openvino.int8 import (
    CONVOLUTIONS,
    TARGET,
    WHOLE,
    Feeds,
    Int8Record,
    import_nncf,
    int8_session,
    quantise,
    recording_session,
    write_record,
)
from overpaint.engines.session.session import Session

from .image.compare import psnr
from .precision_gate import Steps, paint, part

ATTEMPTS: Final = (WHOLE, CONVOLUTIONS)
SIDE: Final = 256
"""Of the picture whose runs calibrate, and which is compared, in pixels."""


_LOG = logging.getLogger(__name__)


def build_int8(bundle: Bundle, progress: Steps | None = None) -> Int8Record:
    """Quantise the denoiser of `bundle` and keep it there, under plans/openvino-int8: all that
    multiplies, or its convolutions alone where pictures do not survive that.

    Raises:
        BundleError: the bundle has no manifest to list it in.
        UsageError: it may not be written to.
        SessionError: its pictures do not survive 8 bits. Nothing is kept.
        MissingExtraError: openvino or nncf is not installed.
    """
    check_listable(bundle)
    import_nncf()
    denoiser, feeds = bundle.manifest.denoiser, Feeds()
    exactly = choose(bundle, "openvino", "f32")

    def recording(name: str) -> Session:
        if name == denoiser:
            return recording_session(bundle, feeds)
        return open_session(bundle, name, exactly)

    runs = 1 + len(ATTEMPTS)
    exact = paint(bundle, recording, part(progress, 0, runs), SIDE)
    with new_plans(bundle, TARGET) as folder:
        for attempt, kinds in enumerate(ATTEMPTS, 1):
            quantise(bundle, feeds, folder, kinds)
            steps = part(progress, attempt, runs)
            made = paint(bundle, lambda name: int8_session(bundle, name, folder), steps, SIDE)
            psnr_db = psnr(made, exact)
            if psnr_db >= BAR_DB:
                return write_record(bundle, folder, kinds, psnr_db)
            _LOG.info("%s in 8 bits: %.1f dB, with %s", bundle.folder, psnr_db, ", ".join(kinds))
        raise SessionError(
            f"--precision int8: pictures of {bundle.folder} come out at {psnr_db:.1f} dB against "
            f"float32, with convolutions alone in 8 bits, and {BAR_DB:g} is the least; nothing was "
            "kept. --precision bf16 is nearer"
        )

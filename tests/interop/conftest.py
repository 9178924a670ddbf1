"""The tiny checkpoints and bundles that import's tests stand on."""

from tests.engines.conftest import bundles, checkpoints

__all__ = ["bundles", "checkpoints"]

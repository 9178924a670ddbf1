"""From a checkpoint to a bundle with no torch: packaged graphs, weights by reference.

from overpaint.bundle.importing import import_checkpoint
import_checkpoint("some-finetune.safetensors", "bundles/finetune")
"""

from overpaint.bundle.lora.file import LoraChoice
from overpaint.bundle.lora.fuse import fuse_loras

from .import_checkpoint import Imported, import_checkpoint

__all__ = ["Imported", "LoraChoice", "fuse_loras", "import_checkpoint"]

"""From a checkpoint to a bundle with no torch: packaged graphs, weights by reference.

from overpaint.engines.importing import import_checkpoint
import_checkpoint("some-finetune.safetensors", "bundles/finetune")
"""

from .import_checkpoint import Imported, import_checkpoint
from .lora import fuse_loras
from .lora_file import LoraChoice

__all__ = ["Imported", "LoraChoice", "fuse_loras", "import_checkpoint"]

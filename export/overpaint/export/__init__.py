"""From a checkpoint to a bundle: graphs traced by torch that carry no weights but point at them.

    from overpaint.export import export_checkpoint
    manifest = export_checkpoint("checkpoints/sd15", "bundles/sd15")

The one room that imports torch. `parts` lists a checkpoint's graphs, `networks` wraps what each is
traced from, `trace` makes it, `weights` puts its tensors into the bundle, `parity` compares it with
torch, `bundle` does it all in order; `families` has what differs between families.
"""

from importlib.util import find_spec

from overpaint.bundle.errors import MissingExtraError

for _module in ("torch", "diffusers", "transformers", "onnx", "onnxscript", "onnxruntime"):
    if find_spec(_module) is None:
        raise MissingExtraError("export", _module)

from .bundle import Progress, export_checkpoint  # noqa: E402

__all__ = ["Progress", "export_checkpoint"]

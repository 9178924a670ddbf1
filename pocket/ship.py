"""`python -m pocket.ship`: the checkpoint, exported like any other, becomes the embedded bundle."""

import shutil
from pathlib import Path

import msgspec

from overpaint.bundle.facts import Defaults
from overpaint.bundle.files.hashing import sha256_file
from overpaint.bundle.format.manifest import File
from overpaint.bundle.format.manifest_file import read_manifest, write_manifest
from overpaint.bundle.format.verify import verify_bundle
from overpaint.export.bundle import export_checkpoint
from overpaint.runtime.default_bundle import EMBEDDED

POCKET = Path(__file__).parent
DEFAULTS = Defaults(steps=10, guidance_scale=1.0, strength=0.4)
MOST_BYTES = 20_000_000


def main() -> None:
    export_checkpoint(POCKET / "runs" / "checkpoint", EMBEDDED, force=True)
    add_what_export_cannot_know()
    report = verify_bundle(EMBEDDED)
    if not report.whole or report.total_bytes > MOST_BYTES:
        raise SystemExit(f"not fit to ship: {report}")
    print(f"{EMBEDDED}: {report.files} files, {report.total_bytes / 1e6:.1f} MB")


def add_what_export_cannot_know() -> None:
    """The name, the defaults chosen by looking, licence and card."""
    manifest = read_manifest(EMBEDDED)
    files = dict(manifest.files)
    for source in (POCKET.parent / "LICENSE", POCKET / "MODEL_CARD.md"):
        target = Path(shutil.copyfile(source, EMBEDDED / source.name))
        files[source.name] = File(size=target.stat().st_size, sha256=sha256_file(target))
    named = msgspec.structs.replace(manifest, name="pocket", defaults=DEFAULTS, files=files)
    write_manifest(EMBEDDED, named)


if __name__ == "__main__":
    main()

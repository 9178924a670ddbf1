"""A bundle on disk: a folder that was checked, and what its manifest says.

bundle = open_bundle("bundles/sd15")
bundle.manifest.latents.channels        # 4
bundle.path("tokenizer/tokenizer.json")
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from overpaint.bundle.errors import BundleError

from .manifest import Component, Manifest


@dataclass(frozen=True, slots=True)
class Bundle:
    """A folder and its manifest. `inferred` is empty, or says what was read from elsewhere because
    the folder has no manifest (optimum's exports have none)."""

    folder: Path
    manifest: Manifest
    inferred: tuple[str, ...] = ()

    def path(self, name: str) -> Path:
        """Where the file `name` of the manifest lies.

        Raises:
            BundleError: the manifest lists no such file.
        """
        if name not in self.manifest.files:
            raise BundleError(f"{self.folder}: this bundle has no {name!r}")
        return self.folder / name

    def component(self, name: str) -> Component:
        """The component `name` of the manifest.

        Raises:
            BundleError: the bundle has no such component.
        """
        try:
            return self.manifest.components[name]
        except KeyError:
            known = ", ".join(self.manifest.components)
            raise BundleError(
                f"{self.folder}: this bundle has no component {name!r}; it has {known}"
            ) from None

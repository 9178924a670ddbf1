"""The LoRAs of an open pipeline, and the engines that turn them.

Engines with branches are an extension of the bundle, opened beside the base's: what no LoRA changes
is the base's own session. A run without LoRAs, or with all of them at 0, is the base's alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from overpaint.bundle.errors import SessionError
from overpaint.bundle.files.hashing import Progress
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.open import open_bundle
from overpaint.bundle.lora.live import hash_of, live_loras
from overpaint.engines.choose import Decision, choose, open_session
from overpaint.runtime.components import Components
from overpaint.runtime.engines import Adapters, Engines, turned_by
from overpaint.runtime.text import TextEncoders

from .find import lora_file, loras_in, unknown

MOST: Final = 8
"""How many a folder's names may open before those that a run does not use are closed: each has its
part in every step."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA that is open: its file, and the file's SHA-256."""

    file: Path
    sha256: str


class LiveLoras:
    """Names that a run may give weights to. Adding and removing one opens engines anew, and leaves
    the base's as they are."""

    def __init__(
        self, base: Engines, *, folder: Path | None = None, embedded: bool = False
    ) -> None:
        """`folder`, `embedded`: where a name is looked for that was not added."""
        self._base = base
        self._folder = folder
        self._embedded = embedded
        self._adapters: dict[str, Adapter] = {}
        self._engines: Engines | None = None

    @property
    def adapters(self) -> Mapping[str, Adapter]:
        """Those that are open."""
        return self._adapters

    def add(self, files: Mapping[str, Path], progress: Progress | None = None) -> None:
        """Open LoRAs under names of their own.

        Raises CheckpointError, BundleError, SessionError; UsageError while a run is under way.
        """
        self._open({**self._adapters, **self._read(files)}, progress)

    def remove(self, name: str) -> None:
        """Close a LoRA. Raises UsageError where none is called so, or a run is under way."""
        if name not in self._adapters:
            raise unknown(name, {one: adapter.file for one, adapter in self._adapters.items()})
        self._open({one: own for one, own in self._adapters.items() if one != name})

    def engines(self, weights: Mapping[str, float]) -> Engines:
        """What paints with LoRAs at these weights; those that are not open are opened.

        Raises UsageError for a name that is not known; as `add`.
        """
        wanted = {name for name, weight in weights.items() if weight}
        if missing := wanted - self._adapters.keys():
            there = loras_in(self._folder, embedded=self._embedded)
            for name in sorted(missing - there.keys()):
                raise unknown(name, there | {n: a.file for n, a in self._adapters.items()})
            found = self._read({name: there[name] for name in missing})
            if len(self._adapters) + len(found) > MOST:
                self._open({n: own for n, own in self._adapters.items() if n in wanted} | found)
            else:
                self._open(self._adapters | found)
        if not wanted:
            return self._base
        assert self._engines is not None
        return self._engines

    @property
    def turned(self) -> tuple[str, ...]:
        """The components that those which are open change."""
        return () if self._engines is None else turned_by(self._engines.bundle)

    def forget_prompts(self) -> None:
        """Encode every prompt anew."""
        if self._engines is not None:
            self._engines.text.forget()

    def wait(self) -> None:
        """Return when every engine is open, or raise what kept one from opening."""
        if self._engines is not None:
            self._engines.components.wait()

    def close(self) -> None:
        """Close the engines that have branches. May be repeated."""
        if self._engines is not None:
            self._engines.components.close()

    def _read(self, files: Mapping[str, Path]) -> dict[str, Adapter]:
        found = {
            name: lora_file(file, self._folder, embedded=self._embedded)
            for name, file in files.items()
        }
        return {name: Adapter(file, hash_of(file)) for name, file in found.items()}

    def _open(self, adapters: dict[str, Adapter], progress: Progress | None = None) -> None:
        """Have these open, and no other. What raises changes nothing."""
        with self._base.alone():
            extension = None
            if adapters:
                files = {adapter.sha256: adapter.file for adapter in adapters.values()}
                folder = live_loras(self._base.bundle, files, progress)
                bundle = open_bundle(folder, progress=progress)
                extension = bundle, _decided(self._base, bundle)
            self.close()  # two copies of a denoiser are enough
            self._adapters, self._engines = adapters, None
            if extension is not None:
                hashes = {name: adapter.sha256 for name, adapter in adapters.items()}
                self._engines = _extended(self._base, *extension, Adapters(hashes))


def _decided(base: Engines, bundle: Bundle) -> Decision:
    """What runs an extension: that which runs its base. Raises SessionError where it cannot."""
    if base.decision is None:
        raise SessionError("lora: sessions that were opened elsewhere cannot be extended")
    chosen = choose(bundle, base.decision.chosen.device, base.decision.precision).chosen
    return replace(base.decision, chosen=chosen)


def _extended(base: Engines, bundle: Bundle, decision: Decision, adapters: Adapters) -> Engines:
    """The engines of `bundle`, an extension of base's: base's, but for what its LoRAs change."""
    turned = turned_by(bundle)
    components = Components(
        turned,
        lambda name: open_session(bundle, name, decision),
        low_memory=base.components.low_memory,
        base=base.components,
    )
    text = base.text
    if any(encoder.component in turned for encoder in bundle.manifest.text.encoders):
        text = TextEncoders(bundle.folder, components, turned=frozenset(turned))
    return replace(
        base,
        bundle=bundle,
        components=components,
        text=text,
        decision=decision,
        adapters=adapters,
    )

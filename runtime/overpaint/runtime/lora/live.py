"""The LoRAs of an open pipeline, and the engines that turn them.

Engines with branches are an extension of the bundle, opened beside the base's: what no LoRA changes
is the base's own session. A run without LoRAs, or with all of them at 0, is the base's alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from overpaint.bundle.errors import SessionError
from overpaint.bundle.files.hashing import Progress
from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.open import open_bundle
from overpaint.bundle.lora.live import hash_of, live_loras
from overpaint.engines.choose import choose, open_session
from overpaint.runtime.components import Components
from overpaint.runtime.engines import Adapters, Engines, turned_by
from overpaint.runtime.text import TextEncoders

from .find import lora_file, loras_in, unknown

MOST: Final = 8
"""How many may be open that a run does not use, since each costs its part of every step."""


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

    def add(
        self,
        files: Mapping[str, Path],
        progress: Progress | None = None,
        *,
        keep: Collection[str] = (),
    ) -> None:
        """Open LoRAs under names of their own. Where they would be more than `MOST`, others are
        closed but those to `keep`.

        Raises CheckpointError, BundleError, SessionError; UsageError while a run is under way.
        """
        there = self._folder, self._embedded
        found = {name: lora_file(file, there[0], embedded=there[1]) for name, file in files.items()}
        added = {name: Adapter(file, hash_of(file)) for name, file in found.items()}
        open_now = self._adapters
        if len(open_now) + len(added) > MOST:
            open_now = {name: own for name, own in open_now.items() if name in keep}
        self._open({**open_now, **added}, progress)

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
            self.add({name: there[name] for name in missing}, keep=wanted)
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

    def _open(self, adapters: dict[str, Adapter], progress: Progress | None = None) -> None:
        with self._base.alone():
            files = {adapter.sha256: adapter.file for adapter in adapters.values()}
            opened = None
            if files:
                folder = live_loras(self._base.bundle, files, progress)
                opened = open_bundle(folder, progress=progress)
            self.close()  # two copies of a denoiser are enough
            self._adapters = adapters
            self._engines = None
            if opened is not None:
                hashes = {name: adapter.sha256 for name, adapter in adapters.items()}
                self._engines = _extended(self._base, opened, Adapters(hashes))


def _extended(base: Engines, bundle: Bundle, adapters: Adapters) -> Engines:
    """The engines of `bundle`, an extension of base's, where its LoRAs change anything; else
    base's."""
    decision = base.decision
    if decision is None:
        raise SessionError("lora: sessions that were opened elsewhere cannot be extended")
    decision = replace(
        decision, chosen=choose(bundle, decision.chosen.device, decision.precision).chosen
    )
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

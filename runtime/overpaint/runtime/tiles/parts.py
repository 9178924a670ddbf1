"""A bundle's VAE in parts: made when a large picture first asks for it, each part open alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from overpaint.bundle.format.bundle import Bundle
from overpaint.bundle.format.manifest import Component
from overpaint.bundle.format.open import open_bundle
from overpaint.bundle.tiling.extend import in_parts, parts_of
from overpaint.engines.choose import Decision, choose, open_session
from overpaint.engines.session.session import Session


class Parts:
    """The parts of a bundle's VAE."""

    def __init__(self, bundle: Bundle, decision: Decision) -> None:
        """Nothing is made or opened yet."""
        self._base = bundle
        self._decision = decision
        self._extended: tuple[Bundle, Decision] | None = None

    @property
    def device(self) -> str:
        """What runs them."""
        return self._decision.chosen.device

    def of(self, component: str) -> Mapping[str, Component]:
        """The parts of a VAE's half in the order they run, by name.

        Raises BundleError where it cannot be cut; SessionError where the engine has no plan of it.
        """
        return parts_of(self._made()[0].manifest, component)

    def open(self, name: str) -> Session:
        """One of them; the caller closes it."""
        bundle, decision = self._made()
        return open_session(bundle, name, decision)

    def _made(self) -> tuple[Bundle, Decision]:
        if self._extended is None:
            bundle = open_bundle(in_parts(self._base))
            asked = self._decision
            chosen = choose(bundle, asked.chosen.device, asked.precision).chosen
            self._extended = bundle, replace(asked, chosen=chosen)
        return self._extended

"""A bundle's engines, opened in the background and handed out by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from overpaint.bundle.errors import SessionError
from overpaint.engines.session.session import Session

from .stopwatch import Stopwatch


class Components:
    """The sessions of one pipeline.

    Usually all of them are opened at once, in threads, so that the picture is read and the prompt
    encoded while the denoiser still loads. With `low_memory` each is opened when it is used and
    closed right after, so that two large ones are never resident together. `devices` says what
    runs each component that was used.

    Of two components in `instead`, one is open at a time: using one closes the other. What a name
    says behind a colon tells variants of one component apart.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        open_session: Callable[[str], Session],
        *,
        low_memory: bool = False,
        base: Components | None = None,
        instead: Mapping[str, str] | None = None,
    ) -> None:
        """`names` are opened now, others when they are first used. With a `base`, others are its
        own."""
        self.low_memory = low_memory
        self.devices: dict[str, str] = {}
        self._base = base
        self._closed = False
        self._names = names
        self._open_session = open_session
        self._instead = dict(instead or {})
        self._instead |= {second: first for first, second in self._instead.items()}
        self._opening: dict[str, Future[Session]] = {}
        self.begin(names)

    def begin(self, names: tuple[str, ...]) -> None:
        """Open the sessions called so, in threads; with `low_memory` none is opened ahead."""
        if not self.low_memory:
            pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="open")
            self._opening |= {name: pool.submit(self._open_session, name) for name in names}
            pool.shutdown(wait=False)

    @contextmanager
    def use(self, name: str, watch: Stopwatch) -> Iterator[Session]:
        """The session called `name`; `watch` counts the wait until it is open as "load"."""
        with watch.stage("load"):
            session = self._get(name)
        self.devices[name.partition(":")[0]] = session.device
        try:
            yield session
        finally:
            if self.low_memory:
                session.close()

    def _get(self, name: str) -> Session:
        if self._base is not None and name not in self._names:
            return self._base._get(name)
        if self.low_memory:
            return self._open_session(name)
        if self._closed:
            raise SessionError(f"{name}: this pipeline is closed")
        other = self._instead.get(name)
        if other is not None and other in self._opening:
            self._replace(other, name)
        if name not in self._opening:
            self.begin((name,))
        return self._opening[name].result()

    def _replace(self, other: str, name: str) -> None:
        """Close one session, then open the one that stands instead of it."""
        former, opening = self._opening.pop(other), Future[Session]()
        if former.exception() is None:
            former.result().close()
        try:
            opening.set_result(self._open_session(name))
        except BaseException as error:
            opening.set_exception(error)
        self._opening[name] = opening

    def wait(self) -> None:
        """Return when every engine is open, or raise what kept one from opening."""
        for opening in self._opening.values():
            opening.result()

    def close(self) -> None:
        """Close every session; one that is still being opened is waited for. May be repeated."""
        self._closed = True
        while self._opening:
            _, opening = self._opening.popitem()
            if not opening.cancel() and opening.exception() is None:
                opening.result().close()

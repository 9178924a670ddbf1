"""Any server that speaks OpenAI's image edits as a provider: vLLM-Omni, SGLang, a paid API.

    openai+https://HOST[:PORT][/v1][?model=NAME]

One request is one job. Nothing is told of what such a server cannot be told, and the job's warnings
say so; a field that it answers `unknown_parameter` to is left out and the request made again. A
request that may have begun is never sent twice: somebody may be paying for it. Pictures come back
as files that nobody here trusts.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import httpx

from overpaint.bundle.errors import UsageError
from overpaint.runtime.image import Sides
from overpaint.runtime.schedule import SAMPLERS
from overpaint.serve.ids import new_id
from overpaint.serve.jobs.capabilities import ModelCapabilities
from overpaint.serve.jobs.openai_edits.answer import (
    ANSWER_BYTES,
    RefusedThereError,
    painted,
    pictures,
)
from overpaint.serve.jobs.openai_edits.request import OPTIONAL, USUAL, Ask, asking, without
from overpaint.serve.jobs.protocol import (
    Cancelled,
    Event,
    Failed,
    Health,
    Order,
    Painted,
    Provider,
    RefusedError,
    Started,
)
from overpaint.serve.jobs.resources import Resources

SCHEMES: Final = ("openai+http", "openai+https")
CONNECT_SECONDS: Final = 2.0
FRESH_SECONDS: Final = 5.0
ATTEMPTS: Final = 3
LONGEST_WAIT: Final = 8.0
"""Seconds that a busy server's Retry-After may ask for; after that it is the next one's turn."""


def make(url: str, resources: Resources) -> OpenAIProvider:
    """Raises UsageError where the URL has no host, or asks for more than a model."""
    parts = urlsplit(url)
    asked = parse_qs(parts.query)
    if not parts.hostname or set(asked) - {"model"} or parts.fragment:
        raise UsageError(f"expected {parts.scheme}://host[:port][/v1][?model=NAME], got {url}")
    scheme = parts.scheme.partition("+")[2]
    base = f"{scheme}://{parts.netloc}{parts.path.rstrip('/') or '/v1'}"
    [model] = asked.get("model", [None])
    return OpenAIProvider(base, model, resources.token, resources.job_seconds)


class OpenAIProvider(Provider):
    """The server whose API lies at `base`. `model`: its name there; None: the job's own name where
    the server has it, or else the first that it lists."""

    passes_on = True

    def __init__(self, base: str, model: str | None, token: str | None, seconds: float) -> None:
        self.name = f"openai+{base}"
        self._model, self._seconds = model, seconds
        self._client = httpx.AsyncClient(
            base_url=base,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=httpx.Timeout(seconds, connect=CONNECT_SECONDS),
            trust_env=False,
        )
        self._tasks: dict[str, asyncio.Task[Painted | Failed]] = {}
        self._reasons: dict[str, Cancelled] = {}
        self._models: tuple[str, ...] = ()
        self._fresh_until = 0.0
        self._unknown: set[str] = set()

    async def close(self) -> bool:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await self._client.aclose()
        return True

    async def capabilities(self) -> tuple[ModelCapabilities, ...]:
        """A model for each name that it lists. What they can is not told there: they get what the
        job says."""
        return tuple(_capable(name) for name in await self._listed())

    async def health(self) -> Health:
        try:
            await self._listed()
        except RefusedError as refused:
            return Health(provider=self.name, state="unhealthy", detail=str(refused))
        return Health(provider=self.name, state="ready")

    async def submit(self, order: Order) -> str:
        if order.image is None or order.control:
            what = "what control networks see" if order.control else "no picture"
            message = f"{self.name}: OpenAI's image edits take a picture and words; this is {what}"
            raise RefusedError("no_model", message)
        listed = await self._listed()
        model = self._model or (order.model if order.model in listed else listed[0])
        ticket = new_id()
        self._tasks[ticket] = asyncio.create_task(self._run(order, model))
        return ticket

    async def progress(self, ticket: str) -> AsyncIterator[Event]:
        """It began, and its end: no steps are told over this API."""
        yield Started()
        task = self._tasks[ticket]
        try:
            await asyncio.wait((task,))
            stopped = self._reasons.get(ticket, Cancelled(f"cancelled by {self.name}"))
            yield stopped if task.cancelled() else task.result()
        finally:
            task.cancel()
            self._tasks.pop(ticket, None)
            self._reasons.pop(ticket, None)

    async def cancel(self, ticket: str, why: Cancelled) -> None:
        """The connection is closed; whether the server stops then is its own affair."""
        if task := self._tasks.get(ticket):
            self._reasons[ticket] = why
            task.cancel()

    async def _listed(self) -> tuple[str, ...]:
        """The names of its models, as of a moment ago. Raises RefusedError."""
        if self._model is not None:
            return (self._model,)
        if time.monotonic() >= self._fresh_until:
            try:
                answer = await self._client.get("models", timeout=CONNECT_SECONDS)
                names = tuple(str(one["id"]) for one in answer.json()["data"])
            except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
                message = f"{self.name} does not list its models: {_why(error)}"
                raise RefusedError("unreachable", message) from None
            if not names:
                raise RefusedError("no_model", f"{self.name} lists no models")
            self._models, self._fresh_until = names, time.monotonic() + FRESH_SECONDS
        return self._models

    async def _run(self, order: Order, model: str) -> Painted | Failed:
        """The job's end. Every failure may do better elsewhere: it says nothing of the request
        there."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._seconds):
                asked = asking(order, model)
                while True:
                    try:
                        answer = await self._answer(
                            without(asked, self._unknown), order.settings.pictures
                        )
                        break
                    except RefusedThereError as refused:
                        if refused.unknown is None or refused.unknown in self._unknown:
                            raise
                        self._unknown.add(refused.unknown)
                images = await asyncio.to_thread(pictures, answer)
        except TimeoutError:
            return _failed("timeout", f"{self.name} took longer than {self._seconds:g} seconds")
        except RefusedThereError as refused:
            return _failed(refused.reason, f"{self.name}: {refused}")
        except httpx.HTTPError as error:
            return _failed("unreachable", f"{self.name} was lost on the way: {_why(error)}")
        return painted(
            self.name, order, model, images, without(asked, self._unknown), time.monotonic() - began
        )

    async def _answer(self, asked: Ask, n: int) -> Any:
        """The JSON that comes back. What surely was not begun is asked again, a few times, at
        moments that clients of a busy server do not share.

        Raises RefusedThereError, httpx.HTTPError.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._post(asked, n)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if attempt == ATTEMPTS:
                    raise
                wait = 0.2 * 2.0**attempt
            except _BusyError as busy:
                if attempt == ATTEMPTS or busy.wait > LONGEST_WAIT:
                    raise RefusedThereError("full", str(busy)) from None
                wait = max(busy.wait, 0.2 * 2.0**attempt)
            await asyncio.sleep(wait * random.uniform(1, 1.5))
        raise AssertionError

    async def _post(self, asked: Ask, n: int) -> Any:
        files = [
            (part, (f"{part.strip('[]')}.png", file, "image/png")) for part, file in asked.files
        ]
        async with self._client.stream(
            "POST", "images/edits", data=dict(asked.fields), files=files
        ) as answer:
            body = bytearray()
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > ANSWER_BYTES * n:
                    message = f"an answer of more than {ANSWER_BYTES * n} bytes"
                    raise RefusedThereError("failed", message)
        told = _json(bytes(body))
        if answer.status_code == 200:
            return told
        error = told.get("error") if isinstance(told, dict) else None
        said = error if isinstance(error, dict) else {}
        message = f"it answered {answer.status_code}: {str(said.get('message', ''))[:400]}"
        if answer.status_code in (429, 503):
            wait = answer.headers.get("Retry-After", "")
            raise _BusyError(message, float(wait) if wait.isdecimal() else 0.0)
        unknown = said.get("param") if said.get("code") == "unknown_parameter" else None
        raise RefusedThereError("failed", message, unknown if unknown in OPTIONAL else None)


class _BusyError(Exception):
    """It takes nothing now, and nothing was begun."""

    def __init__(self, message: str, wait: float) -> None:
        super().__init__(message)
        self.wait = wait


def _capable(name: str) -> ModelCapabilities:
    """A model of which nothing is known but its name."""
    return ModelCapabilities(
        name=name,
        family="unknown",
        sha256="",
        sides=Sides(multiple=1, minimum=16, maximum=4096),
        native=(1024, 1024),
        samplers=dict.fromkeys(SAMPLERS, ("default",)),
        defaults=USUAL,
        rounding="down",
        max_steps=1000,
        max_images=10,
        masks=("hard", "soft"),
        references=True,
        looks_at_pictures=True,
    )


def _failed(code: str, message: str) -> Failed:
    return Failed(code=code, message=message, id=new_id(), elsewhere=True)


def _json(body: bytes) -> Any:
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(body)
    return None


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__

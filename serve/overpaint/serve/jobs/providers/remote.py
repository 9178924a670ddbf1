"""Another overpaint server as a provider: its native API behind the five promises."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from overpaint.bundle.errors import UsageError
from overpaint.bundle.facts import Defaults
from overpaint.runtime.control.control import Control
from overpaint.runtime.image import Sides
from overpaint.serve.ids import new_id
from overpaint.serve.jobs.capabilities import ModelCapabilities, Pace
from overpaint.serve.jobs.protocol import (
    HOP,
    Cancelled,
    Event,
    Failed,
    Health,
    Order,
    Painted,
    Provider,
    Queued,
    Reason,
    RefusedError,
    Started,
    State,
    Step,
)
from overpaint.serve.jobs.resources import Resources

SCHEMES = ("http", "https")
CONNECT_SECONDS = 2.0
FRESH_SECONDS = 5.0
ANSWER_SECONDS = 30.0
RECONNECTS = 5
NOT_THE_REQUEST = ("engine_failed", "internal_error", "not_found", "gone", "restarted")


def make(url: str, resources: Resources) -> RemoteProvider:
    """Raises UsageError where the URL has no host."""
    if not urlsplit(url).hostname:
        raise UsageError(f"expected http://host:port, got {url}")
    return RemoteProvider(url, resources.token)


class RemoteProvider(Provider):
    """The server at `url` (http://host:port). What is sent there goes to its own engines."""

    passes_on = True

    def __init__(self, url: str, token: str | None = None) -> None:
        self.name = url.rstrip("/")
        self._token = token
        headers = {HOP: "1"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._client = httpx.AsyncClient(
            base_url=self.name,
            headers=headers,
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            trust_env=False,
        )
        self._reasons: dict[str, Cancelled] = {}
        self._models: tuple[ModelCapabilities, ...] = ()
        self._fresh_until = 0.0

    async def close(self) -> bool:
        await self._client.aclose()
        return True

    async def capabilities(self) -> tuple[ModelCapabilities, ...]:
        """What its /v1/capabilities says, or said a moment ago."""
        if time.monotonic() >= self._fresh_until:
            self._models = await self._ask_capabilities()
            self._fresh_until = time.monotonic() + FRESH_SECONDS
        return self._models

    async def _ask_capabilities(self) -> tuple[ModelCapabilities, ...]:
        try:
            answer = await self._client.get("/v1/capabilities", timeout=CONNECT_SECONDS)
            body = answer.json()
            if answer.status_code == 200:
                return read_capabilities(body, self.name)
        except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
            raise self._silent(error) from None
        raise _refusal(self.name, answer, body)

    async def health(self) -> Health:
        """What its /readyz says; "unhealthy" where nothing answers."""
        try:
            answer = await self._client.get("/readyz", timeout=CONNECT_SECONDS)
            body = answer.json()
            state: State = body["state"]
            return Health(provider=self.name, state=state, detail=str(body.get("detail", "")))
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            return Health(provider=self.name, state="unhealthy", detail=_why(error))

    async def submit(self, order: Order) -> str:
        try:
            answer = await self._client.post("/v1/jobs", json=as_json(order))
            body = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise self._silent(error) from None
        if answer.status_code == 202:
            return str(body["id"])
        raise _refusal(self.name, answer, body)

    async def progress(self, ticket: str) -> AsyncIterator[Event]:
        """Its events, over reconnects; the pictures are fetched before the last one is told."""
        seen, failures = 0, 0
        try:
            while True:
                try:
                    async for message in self._messages(ticket, seen):
                        seen, failures = int(message["seq"]), 0
                        event = await self._event(ticket, message)
                        yield event
                        if isinstance(event, (Painted, Failed, Cancelled)):
                            return
                    raise ConnectionError("the events ended early")
                except (
                    OSError,
                    httpx.HTTPError,
                    WebSocketException,
                    ValueError,
                    LookupError,
                ) as error:
                    failures += 1
                    if failures > RECONNECTS:
                        yield self._lost(error)
                        return
                    await asyncio.sleep(min(0.1 * 2**failures, 2.0))
        finally:
            self._reasons.pop(ticket, None)

    async def cancel(self, ticket: str, why: Cancelled) -> None:
        self._reasons[ticket] = why
        with contextlib.suppress(httpx.HTTPError):
            await self._client.delete(f"/v1/jobs/{ticket}")

    async def _messages(self, ticket: str, seen: int) -> AsyncIterator[dict[str, Any]]:
        """The event messages that are newer than number `seen`, on one connection."""
        url = f"{self.name.replace('http', 'ws', 1)}/v1/jobs/{ticket}/events?after={seen}"
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        async with connect(
            url, additional_headers=headers, proxy=None, open_timeout=CONNECT_SECONDS
        ) as socket:
            async for message in socket:
                yield json.loads(message)

    async def _event(self, ticket: str, message: dict[str, Any]) -> Event:
        match message["type"]:
            case "queued":
                return Queued(int(message["position"]))
            case "step":
                preview = message.get("preview")
                jpeg = base64.b64decode(preview.partition(",")[2]) if preview else None
                return Step(int(message["index"]), int(message["total"]), jpeg)
            case "complete":
                return await self._painted(ticket)
            case "error" if message["code"] == "cancelled":
                return self._reasons.get(ticket, Cancelled(f"cancelled by {self.name}"))
            case "error":
                return Failed(
                    code=str(message["code"]),
                    message=f"{self.name}: {message['message']}",
                    id=str(message.get("id") or new_id()),
                    elsewhere=message["code"] in NOT_THE_REQUEST,
                )
            case _:
                return Started()

    async def _painted(self, ticket: str) -> Painted:
        job = (await self._client.get(f"/v1/jobs/{ticket}")).raise_for_status().json()
        result = job["result"]
        files = [
            (await self._client.get(f"/v1/media/{media}.png")).raise_for_status().content
            for media in result["media"]
        ]
        return Painted(
            images=tuple(files),
            seeds=tuple(result["seeds"]),
            steps_run=result["steps_run"],
            timings=result["timings"],
            device=f"{result['device']} at {self.name}",
            settings=result["settings"],
            warnings=tuple(result["warnings"]),
        )

    def _silent(self, error: Exception) -> RefusedError:
        return RefusedError("unreachable", f"{self.name} did not answer: {_why(error)}")

    def _lost(self, error: Exception) -> Failed:
        return Failed(
            code="unreachable",
            message=f"{self.name} was lost on the way: {_why(error)}",
            id=new_id(),
            elsewhere=True,
        )


def read_capabilities(body: dict[str, Any], server: str) -> tuple[ModelCapabilities, ...]:
    """The models that a body of GET /v1/capabilities tells of; devices are those of `server`."""
    return tuple(_model(model, body["limits"]["n"], server) for model in body["models"])


def _model(view: dict[str, Any], max_images: int, server: str) -> ModelCapabilities:
    sizes, defaults, pace = view["sizes"], view["defaults"], view["pace"]
    return ModelCapabilities(
        name=view["name"],
        family=view["family"],
        sha256=view.get("sha256", ""),
        sides=Sides(multiple=sizes["multiple"], minimum=sizes["minimum"], maximum=sizes["maximum"]),
        native=(sizes["default"]["width"], sizes["default"]["height"]),
        samplers={name: tuple(sigmas) for name, sigmas in view["sigmas"].items()},
        defaults=Defaults(
            steps=defaults["steps"],
            guidance_scale=defaults["guidance_scale"],
            strength=defaults["strength"],
            sampler=defaults["sampler"],
        ),
        rounding=view["steps"]["rounding"],
        max_steps=view["steps"]["maximum"],
        max_images=max_images,
        most_pixels=tuple(map(int, sizes.get("most_pixels", ()))),
        masks=tuple(view.get("masks", ())),
        references=bool(view.get("references", False)),
        looks_at_pictures=bool(view.get("looks_at_pictures", False)),
        loras=tuple(view.get("loras", ())),
        embeddings=dict(view.get("embeddings", {})),
        controls=dict(view.get("controls", {})),
        device=f"{view['device']} at {server}" if view["device"] else None,
        open=view["open"],
        pace=Pace(**{name: pace[name] for name in ("step_s", "other_s", "pixels")})
        if pace
        else None,
    )


def as_json(order: Order) -> dict[str, Any]:
    """The body of POST /v1/jobs. `styles` is empty: what they add is in the prompt already."""
    settings = {name: value for name, value in asdict(order.settings).items() if value is not None}
    if (size := order.settings.size) is not None:
        settings["size"] = f"{size[0]}x{size[1]}"
    files = {"image": order.image, "mask": order.mask}
    urls: dict[str, Any] = {
        name: _data_url(file) for name, file in files.items() if file is not None
    }
    several = {
        "ip_adapter_image": order.ip_adapter_image,
        "ip_adapter_mask": order.ip_adapter_mask,
        "reference_image": order.reference_image,
    }
    urls |= {name: [*map(_data_url, these)] for name, these in several.items() if these}
    lora = {"lora": dict(order.lora)} if order.lora else {}  # which an older server does not know
    shown = {name: _control(one) for name, one in order.control.items()}
    told = {"model": order.model, "prompt": order.prompt, "styles": {}, **urls, **lora, **settings}
    return told | ({"control": shown} if shown else {})


def _control(shown: Control) -> dict[str, Any]:
    """What a control network is shown, as the native API has it."""
    told = {key: value for key, value in asdict(shown).items() if value is not None}
    if isinstance(shown.picture, bytes):
        told["picture"] = _data_url(shown.picture)
    return told


def _data_url(file: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(file).decode()


def _refusal(name: str, answer: httpx.Response, body: Any) -> RefusedError:
    reasons: dict[int, Reason] = {404: "no_model", 429: "full", 503: "unhealthy"}
    error = body.get("error") if isinstance(body, dict) else None
    message = str(error.get("message", "")) if isinstance(error, dict) else ""
    wait = answer.headers.get("Retry-After", "")
    return RefusedError(
        reasons.get(answer.status_code, "failed"),
        f"{name} answered {answer.status_code}: {message}",
        float(wait) if wait.isdecimal() else None,
    )


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__

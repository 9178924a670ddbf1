"""Pictures by URL: only from allowed hosts, only from the public internet, within limits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import httpx
import pytest
from tests.serve.running import png

from overpaint.serve.http.limits import Limits
from overpaint.serve.pictures.fetch import FetchError, fetch

HOSTS = ("pictures.example",)
URL = "https://pictures.example/a.png"
PUBLIC = "93.184.215.14"
LIMITS = Limits()


class Body(httpx.AsyncByteStream):
    """A body that comes in pieces, with a pause between them."""

    def __init__(self, pieces: Sequence[bytes], pause: float = 0.0) -> None:
        self.pieces, self.pause = pieces, pause

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            await asyncio.sleep(self.pause)
            yield piece


class Network:
    """Stands for the internet: notes what was resolved and requested, and answers."""

    def __init__(
        self,
        status: int = 200,
        body: Body | None = None,
        addresses: Sequence[str] = (PUBLIC,),
        error: Exception | None = None,
    ) -> None:
        self.status, self.body, self.error = status, body or Body([png()]), error
        self.addresses = addresses
        self.resolved: list[tuple[str, int]] = []
        self.requests: list[httpx.Request] = []

    def resolve(self, host: str, port: int) -> Sequence[str]:
        self.resolved.append((host, port))
        return self.addresses

    async def handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        headers = {"Location": "https://127.0.0.1/"}
        return httpx.Response(self.status, headers=headers, stream=self.body)

    def fetch(self, url: str, limits: Limits = LIMITS) -> bytes:
        transport = httpx.MockTransport(self.handle)
        return asyncio.run(fetch(url, HOSTS, limits, resolver=self.resolve, transport=transport))


def refused(network: Network, url: str, limits: Limits = LIMITS) -> str:
    with pytest.raises(FetchError) as error:
        network.fetch(url, limits)
    return str(error.value)


def test_the_connection_goes_to_the_address_that_was_checked() -> None:
    network = Network()
    assert network.fetch(URL) == png()
    assert network.resolved == [("pictures.example", 443)]
    (request,) = network.requests
    assert request.url.host == PUBLIC
    assert request.headers["host"] == "pictures.example"
    assert request.extensions["sni_hostname"] == "pictures.example"
    assert "authorization" not in request.headers


@pytest.mark.parametrize(
    "url",
    [
        "http://pictures.example/a.png",
        "ftp://pictures.example/a.png",
        "file:///etc/passwd",
        "https://evil.example/a.png",
        "https://pictures.example.evil.example/a.png",
        "https://pictures.example@evil.example/a.png",
        "https://user:password@pictures.example/a.png",
        "https://evil.example\\@pictures.example/",
        "https://pictures.example%2eevil.example/",
        "https://127.0.0.1/a.png",
        "https:///a.png",
        "https://[::1",
        "https://pictures.example:99999/",
        "https://pictures.example:22/",
        "://",
    ],
)
def test_no_other_url_is_even_resolved(url: str) -> None:
    network = Network()
    refused(network, url)
    assert network.resolved == network.requests == []


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1%eth0",
        "fd00::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "ff02::1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
    ],
)
def test_a_name_that_leads_inside_is_refused(address: str) -> None:
    for addresses in ([address], [PUBLIC, address], [address, PUBLIC]):
        network = Network(addresses=addresses)
        assert "public" in refused(network, URL)
        assert network.requests == []


@pytest.mark.parametrize("status", [301, 302, 307, 404, 500, 204])
def test_no_redirect_is_followed(status: int) -> None:
    network = Network(status)
    assert str(status) in refused(network, URL)
    assert len(network.requests) == 1


def test_bytes_are_capped_while_they_arrive() -> None:
    network = Network(body=Body([bytes(1_000_000)] * 1000))
    assert "10 MB" in refused(network, URL)


def test_time_is_capped() -> None:
    network = Network(body=Body([b"x"] * 1000, pause=0.02))
    started = time.monotonic()
    refused(network, URL, replace(LIMITS, fetch_seconds=0.3))
    assert time.monotonic() - started < 2


def test_a_host_that_does_not_answer_is_said_so() -> None:
    assert "pictures.example" in refused(Network(error=httpx.ConnectError("no")), URL)
    assert "public" in refused(Network(addresses=[]), URL)

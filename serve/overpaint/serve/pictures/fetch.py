"""A picture from a URL, only where the operator named its host.

https only; the name is resolved once and every address must be a public one; the connection goes to
the address that was checked, under the certificate of the name; no redirect is followed; bytes and
time are capped; no proxy of the environment is used.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx

from overpaint.bundle.errors import OverpaintError
from overpaint.serve.http.limits import Limits

HTTPS = 443
# IPv6 addresses that stand for an IPv4 one: mapped, NAT64, 6to4, Teredo.
TRANSITION = tuple(
    map(ipaddress.ip_network, ("::ffff:0:0/96", "64:ff9b::/96", "2002::/16", "2001::/32"))
)
RESOLVERS = ThreadPoolExecutor(4, thread_name_prefix="names")  # a slow one delays nobody else
Resolve = Callable[[str, int], Sequence[str]]


class FetchError(OverpaintError):
    """A URL is not allowed, or did not give a picture's bytes."""


def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of `host`, blocking."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[4][0]) for address in found]


async def fetch(
    url: str,
    allowed: tuple[str, ...],
    limits: Limits,
    *,
    resolver: Resolve = resolve,
    transport: httpx.AsyncBaseTransport | None = None,
) -> bytes:
    """The bytes at `url`. Raises FetchError."""
    host = _allowed(url, allowed)
    try:
        async with asyncio.timeout(limits.fetch_seconds):
            address = await _public_address(host, resolver)
            return await _get(url, host, address, limits, transport)
    except (TimeoutError, httpx.HTTPError, OSError) as error:
        raise FetchError(f"{host} did not give the picture ({type(error).__name__})") from None


def _allowed(url: str, allowed: tuple[str, ...]) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        raise FetchError("expected an upload's id, a data URL or an https URL") from None
    if parsed.scheme != "https":
        raise FetchError("expected an upload's id, a data URL or an https URL")
    if parsed.userinfo or parsed.port is not None or parsed.host not in allowed:
        message = "pictures are not fetched from there; upload the picture instead"
        raise FetchError(message + ", or start the server with --allow-image-host")
    return parsed.host


async def _public_address(host: str, resolver: Resolve) -> str:
    loop = asyncio.get_running_loop()
    addresses = await loop.run_in_executor(RESOLVERS, resolver, host, HTTPS)
    if not addresses or not all(_is_public(address) for address in addresses):
        raise FetchError(f"{host} does not lie on the public internet")
    return addresses[0]


def _is_public(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    carries_another = any(parsed in network for network in TRANSITION if parsed.version == 6)
    return parsed.is_global and not parsed.is_multicast and not carries_another


async def _get(
    url: str,
    host: str,
    address: str,
    limits: Limits,
    transport: httpx.AsyncBaseTransport | None,
) -> bytes:
    """The body at `url`, from `address`, with `host` in the Host header and in the handshake."""
    target = httpx.URL(url).copy_with(host=address)
    named = httpx.URL(url).netloc.decode()
    client = httpx.AsyncClient(trust_env=False, follow_redirects=False, transport=transport)
    body = bytearray()
    async with (
        client,
        client.stream(
            "GET",
            target,
            headers={"Host": named, "Accept": "image/*", "Accept-Encoding": "identity"},
            extensions={"sni_hostname": host},
        ) as answer,
    ):
        if answer.status_code != 200:
            raise FetchError(f"{host} answered {answer.status_code}; redirects are not followed")
        async for chunk in answer.aiter_raw():
            body += chunk
            if len(body) > limits.image_bytes:
                raise FetchError(f"{host} gave more than {limits.image_bytes // 10**6} MB")
    return bytes(body)

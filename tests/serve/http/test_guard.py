"""Who may call: other sites, other names, strangers. And who may start a server like that."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.serve.engine import fake_served
from tests.serve.running import Running, serving

from overpaint.bundle.errors import UsageError
from overpaint.serve.config import Config

TOKEN = "correct-horse-battery-staple"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    served = [fake_served(tmp_path_factory.mktemp("guarded"))]
    config = Config(port=0, token=TOKEN, allowed_hosts=("studio.example",))
    with serving(config, served) as running:
        yield running


def code(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["code"])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
def test_the_server_goes_by_the_names_of_loopback(server: Running, host: str) -> None:
    answer = server.client.get("/v1/capabilities", headers={"Host": f"{host}:{server.port}"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "evil.example:80",
        "",
        "10.0.0.1",
        "a:b:c",
        "[",
        "x@localhost:1:2",
    ],
)
def test_a_name_that_was_rebound_to_this_machine_is_refused(server: Running, host: str) -> None:
    for method, path in (("GET", "/v1/capabilities"), ("POST", "/v1/jobs"), ("GET", "/healthz")):
        answer = server.client.request(method, path, headers={"Host": host})
        assert answer.status_code in (400, 421)


def test_a_name_that_the_operator_allows_is_taken(guarded: Running) -> None:
    answer = guarded.client.get("/v1/capabilities", headers={"Host": "studio.example"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost:1", "http://127.0.0.1", "file://"]
)
def test_pages_of_other_sites_are_refused(server: Running, origin: str) -> None:
    for method, path in (
        ("POST", "/v1/uploads"),
        ("POST", "/v1/jobs"),
        ("GET", "/v1/capabilities"),
    ):
        answer = server.client.request(method, path, headers={"Origin": origin})
        assert answer.status_code == 403
        assert code(answer) == "cross_origin"
        assert "access-control-allow-origin" not in answer.headers


def test_a_preflight_is_refused(server: Running) -> None:
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    answer = server.client.options("/v1/jobs", headers=headers)
    assert answer.status_code == 403
    assert not any(name.startswith("access-control") for name in answer.headers)


def test_the_servers_own_page_is_not_refused(server: Running) -> None:
    answer = server.client.get("/v1/capabilities", headers={"Origin": server.url})
    assert answer.status_code == 200


def test_a_picture_of_ours_cannot_be_shown_on_another_site(server: Running) -> None:
    """An <img> sends no Origin, but says where it stands."""
    headers = {
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "no-cors",
        "Sec-Fetch-Dest": "image",
    }
    assert server.client.get("/v1/capabilities", headers=headers).status_code == 403


def test_a_link_on_another_site_may_lead_here(server: Running) -> None:
    headers = {
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
    }
    assert server.client.get("/v1/capabilities", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer wrong",
        f"Bearer {TOKEN}x",
        f"Basic {TOKEN}",
        "Basic %%%",
        "Bearer \u00e9",
    ],
)
def test_without_the_token_nothing_but_health_answers(
    guarded: Running, authorization: str | None
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization.encode("latin-1")}
    with httpx.Client(base_url=guarded.url) as stranger:
        for path in ("/v1/capabilities", "/metrics", "/openapi.json", "/v1/jobs/x", "/v1/none"):
            answer = stranger.get(path, headers=headers)
            assert answer.status_code == 401, path
            assert answer.headers["www-authenticate"].startswith("Bearer")
        assert stranger.get("/healthz").status_code == 200
        assert stranger.get("/readyz").status_code == 200


def test_a_stranger_cannot_make_the_server_read_a_body(guarded: Running) -> None:
    with httpx.Client(base_url=guarded.url) as stranger:
        answer = stranger.post("/v1/uploads", files={"file": ("a", bytes(1000))})
        assert answer.status_code == 401


def test_the_token_is_taken_as_bearer_or_as_basic_password(guarded: Running) -> None:
    basic = base64.b64encode(f"anybody:{TOKEN}".encode()).decode()
    with httpx.Client(base_url=guarded.url) as client:
        for authorization in (f"Bearer {TOKEN}", f"bearer {TOKEN}", f"Basic {basic}"):
            answer = client.get("/v1/capabilities", headers={"Authorization": authorization})
            assert answer.status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "studio.example"])
def test_another_address_than_loopback_needs_a_token(host: str) -> None:
    with pytest.raises(UsageError, match="--token"):
        Config(host=host)
    with pytest.raises(UsageError, match="16 characters"):
        Config(host=host, token="short")
    Config(host=host, token=TOKEN)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_loopback_needs_none(host: str) -> None:
    Config(host=host)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/media/../../../../etc/passwd.png",
        "/v1/media/..%2f..%2fetc%2fpasswd.png",
        "/v1/media/%2e%2e/jobs/a.png",
        "/v1/media/.png",
        "/v1/media/%00.png",
        "/v1/jobs/..%2f..%2fmedia",
        "/page.css/../../pyproject.toml",
        "/../../etc/passwd",
        "//etc/passwd",
    ],
)
def test_no_path_of_a_client_reaches_the_file_system(server: Running, path: str) -> None:
    answer = httpx.get(httpx.URL(server.url).copy_with(raw_path=path.encode()))
    assert answer.status_code == 404
    assert "root:" not in answer.text


def test_every_answer_has_an_id_and_safe_headers(server: Running, folder: Path) -> None:
    for path in ("/healthz", "/v1/none", "/v1/capabilities"):
        answer = server.client.get(path)
        assert len(answer.headers["x-request-id"]) == 22
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert "server" not in answer.headers

"""Hostile bytes: multipart bodies, base64, pictures. The server answers, and stays well."""

from __future__ import annotations

import base64
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.serve.running import Running, png

from overpaint.serve.http.limits import Limits
from overpaint.serve.http.problems import ApiError
from overpaint.serve.pictures.intake import clean
from overpaint.serve.pictures.sources import decode_base64

QUICK = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
LIMITS = Limits()
PICTURES = [png(24, 16, kind=kind) for kind in ("PNG", "JPEG", "WEBP")]
LINES = st.lists(
    st.sampled_from(
        [
            b"--x",
            b"--x--",
            b"--",
            b"",
            b'Content-Disposition: form-data; name="file"; filename="a"',
            b"Content-Disposition: form-data; name=file",
            b"Content-Disposition: form-data",
            b'Content-Disposition: form-data; name="file"; filename="../a"; filename*=utf-8\'\'%00',
            b"Content-Type: image/png",
            b"Content-Type: text/plain; charset=no-such",
            b"Content-Transfer-Encoding: base64",
            b"X" * 5000 + b": 1",
            PICTURES[0],
        ]
    )
    | st.binary(max_size=40),
    max_size=12,
)


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def refusal(function: Any, *arguments: Any) -> ApiError | None:
    """What `function` refuses with; None where it does not."""
    try:
        function(*arguments)
    except ApiError as error:
        return error
    return None


@QUICK
@given(lines=LINES, end=st.sampled_from([b"\r\n", b"\n", b"\r"]))
@example(
    lines=[
        b"--x",
        b'Content-Disposition: form-data; name="file"; filename="a"',
        b"",
        b"",
        b"--x--",
    ],
    end=b"\r\n",
)
def test_no_multipart_body_breaks_the_server(
    server: Running, lines: list[bytes], end: bytes
) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = server.client.post("/v1/uploads", content=end.join(lines), headers=headers)
    assert answer.status_code in (201, 400, 415, 422), answer.text
    if answer.status_code != 201:
        assert answer.json()["error"]["id"]


@QUICK
@given(kind=st.text(st.characters(codec="latin-1", min_codepoint=33), max_size=40))
def test_no_content_type_breaks_the_server(server: Running, kind: str) -> None:
    kind = kind.replace("\x7f", "")
    headers = {"Content-Type": f"multipart/form-data;{kind}".encode("latin-1")}
    answer = server.client.post("/v1/uploads", content=b"--x\r\n\r\n--x--", headers=headers)
    assert answer.status_code in (400, 415, 422)


@QUICK
@given(
    text=st.text(max_size=60) | st.binary(max_size=60).map(lambda b: base64.b64encode(b).decode())
)
def test_base64_is_read_or_refused(text: str) -> None:
    for whole in (text, "data:image/png;base64," + text, "data:" + text):
        refused = refusal(decode_base64, whole, "image")
        assert refused is None or refused.status == 422


@QUICK
@given(data=st.binary(max_size=200))
def test_base64_round_trips(data: bytes) -> None:
    text = base64.b64encode(data).decode()
    assert decode_base64(text, "image") == decode_base64(f"data:;base64,{text}", "image") == data


@settings(max_examples=250, deadline=None)
@given(picture=st.sampled_from(PICTURES), data=st.data())
def test_a_damaged_picture_is_read_or_refused_in_one_line(picture: bytes, data: Any) -> None:
    """Bytes are flipped, cut out, doubled."""
    broken = bytearray(picture)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(broken) - 1))
        broken[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=5))
        if not broken:
            break
    refused = refusal(clean, bytes(broken), LIMITS, "file")
    if refused is not None:
        assert refused.status in (413, 415, 422)
        assert "\n" not in refused.message

"""What AUTOMATIC1111's face is asked, it must be able to answer: five ways to a 500, all closed."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image, PngImagePlugin
from tests.serve.running import Running

from overpaint.runtime.metadata import CHUNK
from overpaint.serve.http.strict_json import loads, loads_shallow

PLAIN = '"prompt": "x", "width": 64, "height": 64, "steps": 1'


@pytest.mark.parametrize(
    "more",
    [
        '"force_task_id": "\\ud800"',
        '"alwayson_scripts": {"\\ud800": 1}',
        '"override_settings": {"x": NaN}',
        '"override_settings": {"x": -Infinity}',
        '"override_settings": {"x": "\\udfff"}',
        '"override_settings": {"x": ' + "[" * 2000 + "]" * 2000 + "}",
    ],
)
def test_what_cannot_be_said_again_is_refused(server: Running, more: str) -> None:
    body = "{" + PLAIN + ", " + more + "}"
    headers = {"Content-Type": "application/json"}
    for route in ("txt2img", "img2img"):
        answer = server.client.post(f"/sdapi/v1/{route}", content=body, headers=headers)
        assert answer.status_code in (400, 422)
        assert answer.json()["detail"]


@pytest.mark.parametrize("text", ["[" * 100_000, "[" * 900 + "]" * 900, '"\\ud800"', '{"a": NaN}'])
def test_png_info_tells_what_can_be_told(server: Running, text: str) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text(CHUNK, text)
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG", pnginfo=info)
    body = {"image": base64.b64encode(file.getvalue()).decode()}
    answer = server.client.post("/sdapi/v1/png-info", json=body)
    assert answer.status_code == 200
    assert answer.json()["parameters"] == {}
    assert answer.json()["items"] == {CHUNK: text}


def test_json_is_what_can_be_written_again() -> None:
    assert loads('{"a": [1, "\\ud83d\\ude00"]}') == {"a": [1, "😀"]}
    assert loads_shallow("[" * 60 + "]" * 60)
    for bad in ("[" * 70 + "]" * 70, "NaN", '"\\ud800"', "{"):
        with pytest.raises(ValueError, match=r"."):
            loads_shallow(bad)

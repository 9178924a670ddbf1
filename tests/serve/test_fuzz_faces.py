"""Bodies that nobody meant, to OpenAI's and AUTOMATIC1111's routes: a picture, or a refusal in the
shape that their clients know.

Longer: python -m pytest tests/serve/test_fuzz_faces.py --hypothesis-profile long
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import httpx
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.serve.running import Running, data_url, png

PICTURE = png(64, 64)
FRAGMENTS = [
    "null",
    "true",
    "NaN",
    "-Infinity",
    "1e999",
    "-1",
    "0",
    "1.5",
    "1e308",
    "9" * 400,
    "9" * 5000,
    "-0.0",
    '""',
    '"\\ud800"',
    '"\\u0000"',
    '"data:image/png;base64,AAAA"',
    json.dumps(data_url(PICTURE)),
    '"Euler a"',
    '"karras"',
    '"fake"',
    "[]",
    "{}",
    "[[[[1]]]]",
    "[" * 200 + "]" * 200,
    "[" * 100_000 + "]" * 100_000,
    '{"a": ' * 5000 + "1" + "}" * 5000,
    '{"a": 1, "a": [2]}',
    "{]",
]
"""JSON as text, and what only looks like it."""

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
)
JSON = st.sampled_from(FRAGMENTS) | VALUES.map(json.dumps)
GENERATION = {
    "prompt": '"red"',
    "negative_prompt": '""',
    "seed": "7",
    "steps": "1",
    "cfg_scale": "7",
    "width": "64",
    "height": "64",
    "batch_size": "1",
    "n_iter": "1",
    "sampler_name": "null",
    "sampler_index": "null",
    "scheduler": "null",
    "send_images": "true",
    "override_settings": "{}",
    "override_settings.sd_model_checkpoint": "1",
    "force_task_id": "null",
    "script_name": "null",
    "alwayson_scripts": "{}",
    "enable_hr": "false",
    "init_images": f"[{json.dumps(data_url(PICTURE))}]",
    "denoising_strength": "0.5",
    "resize_mode": "0",
    "include_init_images": "true",
    "mask": "null",
    "mask_blur": "null",
    "mask_blur_x": "4",
    "inpainting_fill": "0",
    "inpaint_full_res": "true",
    "inpaint_full_res_padding": "0",
    "inpainting_mask_invert": "0",
    "\\ud800": "1",
    "styles": "[]",
}
A1111 = {
    "/sdapi/v1/img2img": GENERATION,
    "/sdapi/v1/txt2img": GENERATION,
    "/sdapi/v1/options": {"sd_model_checkpoint": '"fake"', "CLIP_stop_at_last_layers": "1"},
    "/sdapi/v1/png-info": {"image": json.dumps(data_url(PICTURE))},
    "/sdapi/v1/interrupt": {},
}
FORM = {
    "prompt": "red",
    "model": "fake",
    "n": "1",
    "size": "64x64",
    "response_format": "b64_json",
    "output_format": "png",
    "output_compression": "100",
    "stream": "false",
    "partial_images": "0",
    "negative_prompt": "",
    "num_inference_steps": "1",
    "guidance_scale": "7",
    "seed": "7",
    "strength": "1",
    "scheduler": "euler",
    "user": "me",
    "mask": "",
    "image": "",
}
TEXTS = st.sampled_from(FRAGMENTS).map(lambda text: text[:60_000]) | st.text(max_size=20)


def is_answered(answer: httpx.Response) -> bool:
    """With a success, with what is wrong with the request, or with "not now"."""
    return (
        200 <= answer.status_code < 300
        or 400 <= answer.status_code < 500
        or (answer.status_code == 503)
    )


@settings(deadline=None)
@given(
    path=st.sampled_from([*A1111]),
    changed=st.dictionaries(st.sampled_from([*GENERATION]), JSON, max_size=4),
    whole=st.none() | JSON,
)
@example(path="/sdapi/v1/txt2img", changed={"seed": "9" * 5000}, whole=None)
@example(path="/sdapi/v1/txt2img", changed={"force_task_id": '"\\ud800"'}, whole=None)
@example(path="/sdapi/v1/options", changed={}, whole="[" * 100_000)
def test_no_json_breaks_automatic1111s_routes(
    server: Running, path: str, changed: dict[str, str], whole: str | None
) -> None:
    fields = {**A1111[path], **changed}
    body = whole or "{" + ", ".join(f'"{name}": {text}' for name, text in fields.items()) + "}"
    headers = {"Content-Type": "application/json"}
    answer = server.client.post(path, content=body.encode(), headers=headers)
    assert is_answered(answer), (answer.status_code, answer.text[:300])
    if answer.status_code >= 400:
        assert isinstance(answer.json()["detail"], str)
    elif path.endswith("2img"):
        assert json.loads(answer.json()["info"])["all_seeds"]


@settings(deadline=None)
@given(changed=st.dictionaries(st.sampled_from([*FORM]) | st.text(max_size=8), TEXTS, max_size=4))
@example(changed={"seed": "9" * 5000})
@example(changed={"stream": "true", "partial_images": "3"})
@example(changed={"stream": "true", "scheduler": "lcm", "num_inference_steps": "120"})
def test_no_form_breaks_openais_edits(server: Running, changed: dict[str, str]) -> None:
    fields = {name: text for name, text in {**FORM, **changed}.items() if text}
    parts: list[tuple[str, Any]] = [("image", ("a.png", PICTURE))]
    answer = server.client.post("/v1/images/edits", data=fields, files=parts)
    assert is_answered(answer), (answer.status_code, answer.text[:300])
    if answer.status_code >= 400:
        assert isinstance(answer.json()["error"]["message"], str)
    elif answer.headers["content-type"].startswith("text/event-stream"):
        assert answer.text.startswith("event: ")
    else:
        assert answer.json()["data"]


@settings(deadline=None)
@given(
    data=st.binary(max_size=300) | st.binary(max_size=60).map(lambda more: PICTURE[:200] + more),
    kind=st.sampled_from(["image/png", "text/plain", "application/octet-stream", ""]),
    part=st.sampled_from(["image", "image[]", "mask", "prompt"]),
)
def test_no_file_breaks_openais_edits(server: Running, data: bytes, kind: str, part: str) -> None:
    parts = {part: ("../a", data, kind)}
    if part == "mask":
        parts["image"] = ("a.png", PICTURE, kind)
    answer = server.client.post("/v1/images/edits", data={"prompt": "x"}, files=parts)
    assert answer.status_code in (400, 413, 415), answer.text[:300]
    assert answer.json()["error"]["message"]


@settings(deadline=None)
@given(text=st.text(max_size=40))
def test_no_name_breaks_what_is_looked_up_by_one(server: Running, text: str) -> None:
    name = quote(text, safe="", errors="surrogatepass")
    for path in (
        f"/v1/models/{name}",
        f"/v1/images/{name}.png",
        f"/sdapi/v1/{name}",
        f"/sdapi/v1/progress?skip_current_image={name}",
    ):
        answer = server.client.get(path, follow_redirects=True)
        assert is_answered(answer), (path, answer.status_code, answer.text[:300])

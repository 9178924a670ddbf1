"""Reference pictures on the page: brought, sent with a job, left out again."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import expect
from tests.conftest import Adapters, BuildOnce
from tests.parity import photograph
from tests.serve.page.conftest import Open
from tests.serve.page.easel import Easel
from tests.serve.running import Running, serving

from overpaint.serve.config import Config
from overpaint.serve.jobs.engines.bundles import Opening, served_bundle


@pytest.fixture(scope="module")
def seeing(adapters: Adapters, build_once: BuildOnce) -> Iterator[Running]:
    """A server whose model sees reference pictures."""
    tiny = adapters("sd1", "base")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(build_once("adapter-cache", Path.mkdir)))
        opening = Opening(device="cpu", ip_adapters=(tiny.adapter,))
        with serving(Config(port=0), [served_bundle(tiny.bundle, opening)]) as running:
            yield running


def file(size: tuple[int, int], name: str) -> dict[str, Any]:
    held = io.BytesIO()
    photograph(size).save(held, "PNG")
    return {"name": name, "mimeType": "image/png", "buffer": held.getvalue()}


def asked(easel: Easel) -> dict[str, Any]:
    return dict(easel.jobs[-1].request.post_data_json)


def test_a_model_without_an_adapter_shows_no_place_for_them(easel: Easel) -> None:
    expect(easel.at("#references")).to_be_hidden()


def test_they_go_with_the_job_and_stay_for_the_next(seeing: Running, visit: Open) -> None:
    easel = visit(seeing.url)
    easel.at(".more summary").click()
    easel.at("#steps").fill("2")
    easel.repaint("red")
    assert "ip_adapter_image" not in asked(easel)
    assert "ip_adapter_scale" not in asked(easel)
    expect(easel.at("#seen-field")).to_be_hidden()
    easel.at("#reference-file").set_input_files(
        [file((90, 64), "one.png"), file((64, 72), "other.png")]  # type: ignore[list-item]
    )
    expect(easel.at("#reference-list img")).to_have_count(2)
    easel.at("#seen").fill("0.85")
    easel.repaint("red")
    sent = asked(easel)
    assert sent["ip_adapter_scale"] == 0.85
    files = [seeing.state.uploads.get(one) for one in sent["ip_adapter_image"]]
    sizes = [Image.open(io.BytesIO(one)).size for one in files]
    assert sizes == [(90, 64), (64, 72)]
    easel.at("#reference-list button").first.click()
    expect(easel.at("#reference-list img")).to_have_count(1)
    easel.repaint("red")
    assert asked(easel)["ip_adapter_image"] == sent["ip_adapter_image"][1:]


def test_what_is_no_picture_is_told(seeing: Running, visit: Open) -> None:
    easel = visit(seeing.url)
    notes = {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no picture"}
    easel.at("#reference-file").set_input_files([notes])  # type: ignore[list-item]
    expect(easel.at("#notice-text")).to_contain_text("notes.txt is not a picture")
    expect(easel.at("#reference-list img")).to_have_count(0)

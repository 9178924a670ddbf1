"""Pictures come in, and results go out."""

from __future__ import annotations

import io
import json

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect
from tests.serve.page.easel import Easel, decoded, difference, flat, halves
from tests.serve.running import Running

from overpaint.serve.page import FOLDER

KEPT = """async () => {
    const answered = request => new Promise(resolve => {
        request.onsuccess = () => resolve(request.result);
    });
    const database = await answered(indexedDB.open('overpaint'));
    const names = [...database.objectStoreNames];
    const stores = database.transaction(names);
    const counts = names.map(name => answered(stores.objectStore(name).count()));
    return Object.fromEntries((await Promise.all(counts)).map((count, i) => [names[i], count]));
}"""


def test_the_example_awaits_a_visitor_with_a_prompt_and_one_clear_button(easel: Easel) -> None:
    example = decoded((FOLDER / "example.png").read_bytes())
    np.testing.assert_array_equal(easel.shown("#before"), example)
    assert difference(easel.seen(), example) < 60  # the middle of it, on the screen
    assert easel.at("#prompt").input_value().strip()
    expect(easel.at("#run")).to_be_enabled()
    assert easel.text("#run-text") == "Repaint"
    assert easel.text("#reading") == "50 % · 5 of 10 steps"


@pytest.mark.parametrize("way", ["bring", "drop", "paste"])
def test_a_picture_is_picked_dropped_or_pasted_and_repainted(
    easel: Easel, server: Running, way: str
) -> None:
    getattr(easel, way)(halves())
    expect(easel.at("#sources")).to_contain_text("original")
    np.testing.assert_array_equal(easel.shown("#before"), decoded(halves()))
    assert easel.repaint().shape == (64, 96, 3)
    upload = easel.uploads[0].json()
    np.testing.assert_array_equal(
        decoded(server.state.uploads.get(upload["id"])), decoded(halves())
    )


def test_dragging_a_file_over_the_page_says_where_to_drop_it(easel: Easel) -> None:
    transfer = easel.page.evaluate_handle(
        "() => { const t = new DataTransfer(); t.items.add(new File(['x'], 'a.png')); return t }"
    )
    easel.page.dispatch_event("#prompt", "dragover", {"dataTransfer": transfer})
    expect(easel.at(".drop")).to_be_visible()
    easel.page.dispatch_event("body", "dragleave", {"dataTransfer": transfer})
    expect(easel.at(".drop")).to_be_hidden()


def test_a_file_that_is_no_picture_is_refused_in_a_sentence(easel: Easel) -> None:
    easel.bring(b"%PDF-1.7 not a picture", "letter.pdf", "application/pdf")
    easel.says("#notice", "letter.pdf is not a picture that can be read. PNG, JPEG and WEBP work.")
    easel.at("#dismiss").click()
    easel.quiet()
    easel.repaint()  # the picture before is still there


def test_a_picture_larger_than_the_server_takes_is_shrunk_here_and_said_so(easel: Easel) -> None:
    easel.bring(flat((10, 120, 200), 4400, 4000))
    easel.says("#notice", "Your picture was large; it was shrunk to 1024 × 931")
    assert easel.shown("#before").shape == (931, 1024, 3)
    assert np.abs(easel.shown("#before").astype(int) - (10, 120, 200)).max() <= 1


def test_a_jpeg_on_its_side_is_shown_and_repainted_upright(easel: Easel) -> None:
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it a quarter to the right to see it upright
    Image.open(io.BytesIO(halves())).save(file, "JPEG", quality=95, exif=exif)
    easel.bring(file.getvalue(), "phone.jpg", "image/jpeg")
    expect(easel.at("#sources")).to_contain_text("original")
    assert easel.shown("#before").shape == (96, 64, 3)
    assert easel.repaint().shape == (96, 64, 3)


def test_without_a_picture_the_words_alone_are_painted(easel: Easel, server: Running) -> None:
    easel.at("#words").click()
    easel.see("empty")
    assert easel.text("#run-text") == "Paint"
    assert easel.reading() == (10, 10)
    easel.at("#size").select_option(index=1)
    landscape = easel.at("#size").input_value()
    made = easel.repaint("blue")
    assert f"{made.shape[1]}x{made.shape[0]}" == landscape
    np.testing.assert_array_equal(easel.shown(), made)
    expect(easel.at("#compare")).to_be_hidden()  # there is nothing to compare with
    assert "from words" in easel.text("#made-of")


def test_the_result_becomes_the_input_and_the_original_can_come_back(easel: Easel) -> None:
    easel.bring(halves())
    made = easel.repaint("red")
    easel.at("#use").click()
    easel.see("picture")
    np.testing.assert_array_equal(easel.shown("#before"), made)
    again = easel.repaint("blue")
    np.testing.assert_array_equal(easel.shown("#before"), made)
    assert difference(again, made) > 5
    easel.at("#sources button").first.click()
    easel.see("picture")
    np.testing.assert_array_equal(easel.shown("#before"), decoded(halves()))


def test_a_result_is_downloaded_as_the_file_that_the_server_made(easel: Easel) -> None:
    easel.bring(halves())
    easel.repaint("red")
    with easel.page.expect_download() as download:
        easel.at("#download").click()
    file = download.value.path().read_bytes()
    assert file == easel.file()
    parameters = json.loads(Image.open(io.BytesIO(file)).info["overpaint"])
    assert download.value.suggested_filename == f"overpaint-{parameters['seed']}.png"


def test_the_strip_keeps_every_result_with_its_own_picture_and_parameters(easel: Easel) -> None:
    easel.bring(halves())
    first = easel.repaint("red")
    told = easel.text("#made-of")
    second = easel.repaint("blue")
    assert difference(first, second) > 5
    tiles = easel.at("#results button")
    expect(tiles).to_have_count(2)
    tiles.nth(1).click()
    np.testing.assert_array_equal(easel.shown(), first)
    assert easel.text("#made-of") == told
    tiles.nth(0).click()
    np.testing.assert_array_equal(easel.shown(), second)


def test_its_settings_bring_back_words_strength_seed_and_picture(easel: Easel) -> None:
    easel.bring(halves())
    easel.choose_steps(8)
    first = easel.repaint("red")
    easel.bring(flat((0, 0, 0)))
    easel.choose_steps(3)
    easel.repaint("green")
    easel.at("#results button").nth(1).click()
    easel.at("#settings").click()
    assert easel.at("#prompt").input_value() == "red"
    assert easel.reading() == (8, 10)
    np.testing.assert_array_equal(easel.repaint(None), first)


def test_all_pictures_of_one_run_are_shown_and_one_is_chosen(easel: Easel) -> None:
    easel.bring(halves())
    easel.settings()
    easel.at("#n").fill("4")
    easel.repaint("red")
    easel.see("sheet")
    choices = easel.at("#sheet button")
    expect(choices).to_have_count(4)
    expect(easel.at("#results button")).to_have_count(4)
    for i in range(4):
        expect(choices.nth(i)).to_be_in_viewport(ratio=1)
        shown = easel.shown(f"#sheet li:nth-child({i + 1}) img")
        np.testing.assert_array_equal(shown, decoded(easel.file(media(easel, i))))
    assert len({easel.file(i) for i in range(4)}) == 4
    easel.says("#made-of", "4 pictures. Choose one.")
    expect(easel.at("#download")).to_be_hidden()
    choices.nth(2).press("Enter")
    easel.see("result")
    np.testing.assert_array_equal(easel.shown(), decoded(easel.file(media(easel, 2))))
    easel.page.keyboard.press("Enter")  # on "All 4", which has the focus now
    easel.see("sheet")
    expect(choices.first).to_be_focused()
    seeds = [int(one.split()[-1]) for one in _labels(easel)]
    expect(choices).to_have_text([f"seed {seed}" for seed in seeds])
    assert seeds == [seeds[0], seeds[0] + 1, seeds[0] + 2, seeds[0] + 3]


def media(easel: Easel, i: int) -> int:
    """Where in `easel.media` the page fetched the picture `i` of the last job."""
    job = httpx.get(f"{easel.url}/v1/jobs/{easel.jobs[-1].json()['id']}").json()
    return easel.media.index(f"/v1/media/{job['result']['media'][i]}.png")


def test_a_result_is_removed_for_good(easel: Easel) -> None:
    easel.bring(halves())
    easel.repaint("red")
    easel.repaint("blue")
    easel.at("#remove").click()
    expect(easel.at("#results button")).to_have_count(1)
    easel.see("picture")
    easel.page.reload()
    expect(easel.at("#results button")).to_have_count(1)
    kept = easel.page.evaluate(KEPT)
    assert kept == {"jobs": 0, "results": 1, "pictures": 2}


def _labels(easel: Easel) -> list[str]:
    buttons = easel.at("#results button").all()
    return [button.get_attribute("aria-label") or "" for button in buttons]

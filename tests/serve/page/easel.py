"""The page as a person in a real Chromium has it, with eyes that read pixels."""

from __future__ import annotations

import base64
import io
import re
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
from PIL import Image
from playwright.sync_api import Locator, Page, Response, WebSocket, expect

SECONDS = 20  # patience, for machines that have other things to do
TELLING = """window.told = [];
new MutationObserver(() => {
    const text = document.getElementById('progress-text')?.textContent;
    if (text && text !== window.told.at(-1)) window.told.push(text);
}).observe(document, {subtree: true, childList: true, characterData: true});"""

NEW_RESULT = """known => document.querySelectorAll('#results button').length > known
    && ['result', 'sheet'].includes(document.querySelector('#stage').dataset.view)"""

Pixels = npt.NDArray[np.uint8]

DRAWN = """async image => {
    await image.decode();  // a preview that has just been set has no size yet
    const canvas = document.createElement('canvas');
    canvas.width = image.naturalWidth;
    canvas.height = image.naturalHeight;
    canvas.getContext('2d').drawImage(image, 0, 0);
    return canvas.toDataURL('image/png').split(',')[1];
}"""
TRANSFER = """([bytes, name, type]) => {
    const transfer = new DataTransfer();
    const data = Uint8Array.from(atob(bytes), one => one.charCodeAt(0));
    transfer.items.add(new File([data], name, {type}));
    return transfer;
}"""


def decoded(file: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))


class Easel:
    """One visit. `media` are the paths of finished pictures that the page fetched, in order; `jobs`
    the answers to submitted jobs, `uploads` to uploaded pictures; `sent` and `heard` what went over
    live sessions. `token` is the server's."""

    token = ""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.media: list[str] = []
        self.jobs: list[Response] = []
        self.uploads: list[Response] = []
        self.sent: list[str | bytes] = []
        self.heard: list[str | bytes] = []
        self.complaints: list[str] = []
        self.results = 0
        page.set_default_timeout(SECONDS * 1000)
        page.add_init_script(TELLING)
        page.on("response", self._note)
        page.on("websocket", self._listen)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._hear)

    def open(self, *, picture: bool = True) -> Easel:
        self.page.goto(self.url)
        if picture:
            self.see("picture")
        return self

    def see(self, view: str, seconds: float = SECONDS) -> None:
        """Wait until the easel shows: picture, empty, running, sheet or result."""
        expect(self.at("#stage")).to_have_attribute("data-view", view, timeout=seconds * 1000)

    def at(self, selector: str) -> Locator:
        return self.page.locator(selector)

    def text(self, selector: str) -> str:
        return self.at(selector).inner_text()

    def says(self, selector: str, words: str | re.Pattern[str], seconds: float = SECONDS) -> None:
        expect(self.at(selector)).to_contain_text(words, timeout=seconds * 1000)

    def told(self) -> list[str]:
        """Every line of progress so far, however short it stood there."""
        return list(self.page.evaluate("window.told"))

    def quiet(self) -> None:
        """Nothing is complained about on the page."""
        expect(self.at("#notice")).to_be_hidden()

    def bring(self, picture: bytes, name: str = "a.png", kind: str = "image/png") -> None:
        """Pick a file, as the file dialog does."""
        file: Any = {"name": name, "mimeType": kind, "buffer": picture}
        self.at("#file").set_input_files(file)

    def drop(self, picture: bytes, on: str = "body") -> None:
        transfer = self._transfer(picture)
        for kind in ("dragenter", "dragover", "drop"):
            self.page.dispatch_event(on, kind, {"dataTransfer": transfer})

    def paste(self, picture: bytes) -> None:
        self._transfer(picture).evaluate(
            """clipboardData => document.body.dispatchEvent(
                new ClipboardEvent('paste', {clipboardData, bubbles: true, cancelable: true}))"""
        )

    def _transfer(self, picture: bytes) -> Any:
        data = base64.b64encode(picture).decode()
        return self.page.evaluate_handle(TRANSFER, [data, "a.png", "image/png"])

    def repaint(self, prompt: str | None = "red") -> Pixels:
        """Press the button; returns the finished picture as the server gave it."""
        if prompt is not None:
            self.at("#prompt").fill(prompt)
        self.at("#run").click()
        return self.finished()

    def finished(self) -> Pixels:
        """Wait for the result of the run under way; returns it as the server has it."""
        self.page.wait_for_function(NEW_RESULT, arg=self.results)
        self.results = self.at("#results button").count()
        return decoded(self.file())

    def file(self, media: int = -1) -> bytes:
        """A finished picture as the server has it."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        answer = httpx.get(self.url + self.media[media], headers=headers)
        assert answer.status_code == 200
        return answer.content

    def shown(self, selector: str = "#after") -> Pixels:
        """The decoded pixels of an image on the page, in its own size."""
        data = self.at(selector).evaluate(DRAWN)
        return decoded(base64.b64decode(data))

    def seen(self, share: tuple[float, float] = (0.3, 0.7)) -> Pixels:
        """A photograph of the middle of the easel: what really is on the screen there."""
        photo = decoded(self.at("#frame").screenshot())
        height, width = photo.shape[:2]
        low, high = share
        return photo[int(height * 0.1) : int(height * 0.4), int(width * low) : int(width * high)]

    def reading(self) -> tuple[int, int]:
        """What the page says that it would run: steps, of how many."""
        found = re.search(r"(\d+)(?: of (\d+))? steps", self.text("#reading"))
        assert found is not None, self.text("#reading")
        return int(found[1]), int(found[2] or found[1])

    def choose_steps(self, steps: int) -> None:
        """Move the strength slider, as a hand does."""
        self.at("#strength").fill(str(steps))

    def settings(self) -> None:
        """Unfold the further settings."""
        self.at(".more").evaluate("details => { details.open = true }")

    def _note(self, response: Response) -> None:
        if response.url.startswith(("blob:", "data:")):
            return
        path = response.url.removeprefix(self.url)
        if path == response.url:
            self.complaints.append(f"the page called {response.url}")
        if re.fullmatch(r"/v1/media/.*", path) and response.ok:
            self.media.append(path)
        if path == "/v1/jobs" and response.ok and response.request.method == "POST":
            self.jobs.append(response)
        if path == "/v1/uploads" and response.ok:
            self.uploads.append(response)

    def _listen(self, socket: WebSocket) -> None:
        if socket.url.endswith("/v1/live"):
            socket.on("framesent", lambda one: self.sent.append(one))
            socket.on("framereceived", lambda one: self.heard.append(one))

    def _hear(self, message: Any) -> None:
        # a failed request is written there by the browser itself, and expected in some tests
        if (
            message.type == "error"
            and "Failed to load resource" not in message.text
            and "WebSocket" not in message.text
        ):
            self.complaints.append(message.text)


def flat(colour: tuple[int, int, int], width: int = 64, height: int = 64) -> bytes:
    """A picture of one colour."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(file, "PNG")
    return file.getvalue()


def halves(width: int = 96, height: int = 64) -> bytes:
    """A picture that is easy to tell from what is made of it: dark above, light below."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2] = (20, 40, 60)
    pixels[height // 2 :] = (230, 200, 120)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def difference(one: Pixels, other: Pixels) -> float:
    """Mean absolute difference of two pictures; the second is scaled to the first."""
    height, width = one.shape[:2]
    scaled = np.asarray(Image.fromarray(other).resize((width, height), Image.Resampling.BILINEAR))
    return float(np.abs(one.astype(float) - scaled.astype(float)).mean())

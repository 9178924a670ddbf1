"""The page: HTML, style sheets, ES modules and an example picture; and their headers.

`main.js` says how the modules go together. They speak the native API and nothing else. Beyond the
routes themselves the page reads of `GET /v1/capabilities`:

    models: [{name, device | null,
              sizes: {multiple, minimum, maximum, default: {width, height}},
              samplers: [name, ...],
              defaults: {strength, steps, guidance_scale, sampler},
              steps: {maximum, rounding: "down" | "up"},      rounding: of steps * strength
              pace: {step_s, other_s} | null}]                measured here, taken for that of the
                                                              default size; null before the first
    modes: {copy: {strength, steps, guidance_scale}}
    limits: {upload_bytes, upload_pixels, upload_side, n, prompt_characters}
    styles: [{name, words}]                                   prompt additions, shown and editable
    negative_prompt                                           to begin with

and of `GET /openapi.json` the properties of JobRequest, for the further settings. The first model
is the default. Of modes, limits, styles and the negative prompt the page does without what is
absent.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

FOLDER = Path(__file__).parent
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
}
INDEX = FOLDER / "index.html"
ASSETS = sorted(path for path in FOLDER.rglob("*") if path.suffix in TYPES and path != INDEX)
FILES = {"/": INDEX} | {f"/page/{path.relative_to(FOLDER).as_posix()}": path for path in ASSETS}
HEADERS = {
    # Results are shown from memory (blob:), previews arrive as data: URLs; all else is our own.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def page_router() -> APIRouter:
    """`GET /` and its assets; not part of the API's schema."""
    router = APIRouter(include_in_schema=False)
    for route, path in FILES.items():
        router.add_api_route(route, _file(path), methods=["GET", "HEAD"])
    return router


def _file(path: Path) -> Callable[[], FileResponse]:
    def answer() -> FileResponse:
        return FileResponse(path, media_type=TYPES[path.suffix], headers=HEADERS)

    return answer

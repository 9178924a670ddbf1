"""The page: one HTML, CSS and JS file each, the example picture, and the headers they go out with.

It speaks the native API and nothing else. Beyond the routes themselves it reads of
`GET /v1/capabilities`:

    models: [{name, family, device | null,
              sizes: {multiple, minimum, maximum, default: {width, height}},
              samplers: [name, ...],
              defaults: {strength, steps, guidance_scale, sampler},
              steps: {maximum, rounding: "down" | "up"},      rounding: of steps * strength
              pace: {step_s, other_s} | null}]                measured here; null before the first
    limits: {upload_bytes, upload_seconds, media_seconds, n, prompt_characters}
    styles: [{name, words}]                                   prompt additions, shown and editable

The first model is the default. Whatever is absent, the page does without.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

FOLDER = Path(__file__).parent
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page/example.png": ("example.png", "image/png"),
}
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
    for route, (name, media_type) in FILES.items():
        router.add_api_route(route, _file(name, media_type), methods=["GET", "HEAD"])
    return router


def _file(name: str, media_type: str) -> Callable[[], FileResponse]:
    def answer() -> FileResponse:
        return FileResponse(FOLDER / name, media_type=media_type, headers=HEADERS)

    return answer

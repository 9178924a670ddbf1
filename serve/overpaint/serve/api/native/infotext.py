"""POST /v1/infotext: what a picture says of how it was made, by the names of a job's fields."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import StringConstraints

from overpaint.runtime.infotext import parse
from overpaint.serve.http.strict_json import StrictRoute
from overpaint.serve.state import State

from .answers import problems
from .schema import Closed
from .views import InfotextView

LONGEST = 50_000  # characters


class Infotext(Closed):
    """The text `parameters` of a PNG, as AUTOMATIC1111's web UI and its kin write it."""

    text: Annotated[str, StringConstraints(max_length=LONGEST)]


def routes(_: State) -> APIRouter:
    router = APIRouter(tags=["pictures"], route_class=StrictRoute)

    @router.post(
        "/v1/infotext",
        response_model=InfotextView,
        responses=problems(400, 408, 413, 415, 422),
    )
    async def infotext(wanted: Infotext) -> InfotextView:
        """Read AUTOMATIC1111's lines. What is no option of a job is in `other`."""
        said = parse(wanted.text)
        return InfotextView(
            prompt=said.prompt, settings=dict(said.settings), other=dict(said.other)
        )

    return router

"""The ControlNet extension's part of that API: units in `alwayson_scripts`, and its lists.

What a unit says of its preprocessor's resolution, thresholds and resizing is ignored: maps are made
at the picture's own size, with the thresholds that networks were trained with, and resized as the
picture is. "ControlNet is more important" is our guess mode.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from overpaint.bundle.errors import UsageError
from overpaint.runtime.control.control import Control
from overpaint.serve.http.problems import ApiError
from overpaint.serve.pictures.sources import decode_base64
from overpaint.serve.state import State

NAME: Final = "controlnet"
MODULES: Final[Mapping[str, str]] = {"none": "map", "canny": "canny", "tile_resample": "tile"}
"""What that extension calls our preprocessors."""

_GUESSES: Final[Mapping[str, bool]] = {
    "balanced": False,
    "0": False,
    "controlnet is more important": True,
    "2": True,
}


class Unit(BaseModel):
    """One network, as the extension's clients write it."""

    model_config = ConfigDict(extra="ignore")

    enabled: bool = True
    module: str = "none"
    model: str = "None"
    image: str | dict[str, Any] | None = None
    input_image: str | None = None
    mask: str | None = None
    weight: Annotated[float, Field(allow_inf_nan=False)] = 1.0
    guidance_start: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    guidance_end: Annotated[float, Field(allow_inf_nan=False)] = 1.0
    control_mode: str | int = "Balanced"

    @property
    def picture(self) -> str | None:
        """Its picture in base64; None for the one that is repainted."""
        shown = self.image.get("image") if isinstance(self.image, dict) else self.image
        return str(shown) if shown else self.input_image or None

    @property
    def masked(self) -> bool:
        return bool(self.mask or (isinstance(self.image, dict) and self.image.get("mask")))

    @property
    def network(self) -> str:
        """The network's name, without the hash that a client may have read beside it."""
        return self.model.rpartition(" [")[0] or self.model


def units_of(scripts: Mapping[str, Any] | None) -> list[Unit]:
    """The units that are switched on. Raises ApiError 422 for another script, and for what is no
    unit."""
    found: list[Unit] = []
    for name, said in (scripts or {}).items():
        if str(name).lower() != NAME:
            message = f"alwayson_scripts: there is none of {name} here; leave it out"
            raise ApiError(422, "unsupported", message, field="alwayson_scripts")
        args = said.get("args") if isinstance(said, dict) else None
        try:
            found += [Unit.model_validate(one) for one in args or ()]
        except (ValidationError, TypeError):
            message = "alwayson_scripts: expected ControlNet's args to be a list of units"
            raise ApiError(422, "invalid_request", message, field="alwayson_scripts") from None
    return [one for one in found if one.enabled]


def guesses(units: list[Unit]) -> bool:
    """Whether the units ask for guess mode. Raises ApiError 422 for another mode, or for two."""
    modes = set()
    for one in units:
        mode = str(one.control_mode).lower()
        if mode not in _GUESSES:
            raise _unsupported(f"control_mode: there is no {one.control_mode!r} here")
        modes.add(_GUESSES[mode])
    if len(modes) > 1:
        raise _unsupported("control_mode: expected the same for all units")
    return modes == {True}


async def shown(state: State, units: list[Unit], image: bytes | None) -> dict[str, Control]:
    """What each network is shown. `image`: the picture that is repainted, which the units without
    one of their own see. Raises ApiError 422."""
    found: dict[str, Control] = {}
    for one in units:
        if one.masked:
            raise _unsupported("mask: a unit's own is not known here; leave it out")
        if one.network in found:
            raise _unsupported(f"model: two units with {one.network}; expected one")
        picture = image
        if one.picture is not None:
            data = decode_base64(one.picture, "alwayson_scripts")
            picture = (await state.sources.intake.receive(data, "alwayson_scripts")).png
        try:
            found[one.network] = Control(
                picture,
                scale=one.weight,
                start=one.guidance_start,
                end=one.guidance_end,
                preprocessor=MODULES.get(one.module.lower(), one.module),
            )
        except UsageError as error:
            raise _unsupported(str(error)) from None
    return found


def routes(state: State) -> APIRouter:
    router = APIRouter(prefix="/controlnet")

    @router.get("/version")
    async def version() -> dict[str, int]:
        return {"version": 2}

    @router.get("/model_list")
    async def models() -> dict[str, list[str]]:
        served = await state.jobs.capabilities()
        return {"model_list": list(dict.fromkeys(name for one in served for name in one.controls))}

    @router.get("/module_list")
    async def modules() -> dict[str, Any]:
        return {"module_list": list(MODULES), "module_detail": {}}

    return router


def _unsupported(message: str) -> ApiError:
    whole = f"alwayson_scripts: ControlNet: {message}"
    return ApiError(422, "unsupported", whole, field="alwayson_scripts")

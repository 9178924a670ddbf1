"""Seeds in answers, as numbers or, on request, as strings: `?seeds_as=string`.

A seed has up to 64 bits, and JavaScript's numbers are exact up to 2**53 only.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from fastapi import Query

SeedsAs: TypeAlias = Annotated[
    Literal["number", "string"],
    Query(description="string, for clients whose numbers are exact up to 2**53 only"),
]

_SETTINGS = ("seed", "variation_seed")


def with_seeds_as(view: dict[str, Any], how: str) -> dict[str, Any]:
    """A job's `view`, or what of it has a result's `seeds`, with seeds as `how` says."""
    if how != "string":
        return view
    told = dict(view)
    if told.get("seeds") is not None:
        told["seeds"] = [str(seed) for seed in told["seeds"]]
    if told.get("settings") is not None:
        written = {name: str(told["settings"][name]) for name in _SETTINGS if _said(told, name)}
        told["settings"] = told["settings"] | written
    if told.get("result") is not None:
        told["result"] = with_seeds_as(told["result"], how)
    return told


def _said(told: dict[str, Any], name: str) -> bool:
    return told["settings"].get(name) is not None

"""Which variant a single file is: what its tensors cannot tell, its metadata or the user must.

Metadata: Stability's ModelSpec (github.com/Stability-AI/ModelSpec) and what kohya's scripts write;
NoobAI's v-prediction checkpoints carry an empty tensor called `v_pred`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from overpaint.bundle.errors import CheckpointError, UsageError

from .library import Library


def choose_variant(
    library: Library,
    names: tuple[str, ...],
    like: str | None,
    metadata: Mapping[str, str],
    tensors: Collection[str],
    label: str,
) -> str:
    """One of `names`, the architectures that `label` may be.

    Raises:
        UsageError: `like` is no architecture.
        CheckpointError: `like` is another architecture than the file, or must be given.
    """
    if like is not None:
        if like not in library.architectures:
            raise UsageError(
                f"--like: expected one of {', '.join(library.architectures)}, got {like!r}"
            )
        if like not in names:
            raise CheckpointError(f"{label} is {' or '.join(names)} by its tensors, not {like}")
        return like
    if len(names) == 1:
        return names[0]
    training = _training(metadata, tensors)
    fitting = [name for name in names if training and _fits(library, name, training)]
    if len(fitting) == 1:
        return fitting[0]
    choices = ", ".join(f"{name} ({library.architectures[name].like})" for name in names)
    raise CheckpointError(
        f"{label} does not say how it was trained, and its tensors cannot: "
        f"choose with --like, one of {choices}"
    )


class _Training(NamedTuple):
    """`prediction`: `v`, or what begins with it; else noise. `turbo`: distilled for few steps."""

    prediction: str
    turbo: bool


def _training(metadata: Mapping[str, str], tensors: Collection[str]) -> _Training | None:
    """How a file was trained, by its metadata and the names in it; None where neither tells."""
    titles = [metadata.get(f"modelspec.{key}", "").lower() for key in ("architecture", "title")]
    prediction = metadata.get("modelspec.prediction_type", "").lower()
    if "v_pred" in tensors or metadata.get("ss_v_parameterization") == "True":
        prediction = "v"
    elif not prediction and titles[0]:
        prediction = "v" if titles[0].endswith("-v") else "epsilon"
    if not prediction:
        return None
    return _Training(prediction, turbo=any("turbo" in title for title in titles))


def _fits(library: Library, name: str, training: _Training) -> bool:
    predicts_v = library.architectures[name].scheduler.get("prediction_type") == "v_prediction"
    return predicts_v == training.prediction.startswith("v") and training.turbo == ("turbo" in name)

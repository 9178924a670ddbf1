"""`overpaint import`: a checkpoint becomes a bundle without torch."""

from __future__ import annotations

from pathlib import Path

import typer

from overpaint.commands.progress import progress_bar
from overpaint.engines.importing import LoraChoice, import_checkpoint
from overpaint.engines.importing.place import Choice


def import_command(
    checkpoint: str,
    output: Path,
    *,
    link: Choice,
    loras: list[str],
    like: str | None,
    tokenizer: Path | None,
    dtype: str,
    force: bool,
) -> None:
    """Import, with a progress bar, and tell what it is and how the weights came."""
    choices = [LoraChoice.parse(text) for text in loras]
    with progress_bar("import") as advance:
        made = import_checkpoint(
            checkpoint,
            output,
            link=link,
            loras=choices,
            like=like,
            tokenizer=tokenizer,
            dtype=dtype,
            force=force,
            progress=advance,
        )
    how = " and ".join(sorted(made.placed)) or "converted"
    typer.echo(f"{output}: {made.manifest.name}, {made.architecture}, its weights {how}")
    for lora in made.manifest.loras:
        typer.echo(f"{output}: {lora.name} fused at {lora.weight:g}")
    typer.echo(f"Try: overpaint info {output}")

"""One training loop for every stage: timed, logged, and resumable after any interruption."""

import copy
import csv
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pocket.threads import Threads

Batch = tuple[Tensor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What one stage trains and for how long.

    The learning rate warms up, stays, and falls to zero over the last `decay` of `minutes` of
    training time, so the machine's speed decides the number of steps and nothing else.
    """

    name: str
    minutes: float
    rate: float
    decay: float = 0.4
    warm_up: int = 150
    ema: float = 0.999
    clip: float = 1.0
    weight_decay: float = 0.0
    seed: int = 0
    save_every: float = 120.0
    """Seconds between checkpoints."""


def train(
    stage: Stage,
    model: nn.Module,
    batch: Callable[[np.random.Generator, float], Batch],
    loss: Callable[..., dict[str, Tensor]],
    folder: Path,
) -> nn.Module:
    """Train `model` in place for the stage's minutes and return its moving average.

    `batch(rng, done)` draws the data of one step from `rng` (seeded by stage and step) and the
    share of the budget that is spent; `loss(model, *batch)` returns named scalars, "loss" being
    the one to minimise. Goes on from `folder/<name>.pt`, where there is one.
    """
    device = next(model.parameters()).device
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(model).eval().requires_grad_(False)
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=stage.rate, betas=(0.9, 0.99), weight_decay=stage.weight_decay
    )
    path, log = folder / f"{stage.name}.pt", folder / f"{stage.name}.csv"
    step, spent = 0, 0.0
    if path.exists():
        saved = torch.load(path, map_location=device, weights_only=True)
        model.load_state_dict(saved["model"])
        average.load_state_dict(saved["average"])
        optimiser.load_state_dict(saved["optimiser"])
        step, spent = saved["step"], saved["spent"]
    _trim(log, step)

    budget, last_save = stage.minutes * 60, time.monotonic()
    sums: dict[str, float] = {}
    window = 0
    threads = Threads(torch.get_num_threads())
    model.train()
    while spent < budget:
        began, done = time.monotonic(), spent / budget
        rate = stage.rate * min(1.0, (step + 1) / stage.warm_up) * decayed(done, stage.decay)
        for group in optimiser.param_groups:
            group["lr"] = rate
        threads.choose()
        data = batch(np.random.default_rng([stage.seed, step]), done)
        with torch.autocast(device.type, torch.bfloat16):
            terms = loss(model, *data)
        optimiser.zero_grad(set_to_none=True)
        terms["loss"].backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), stage.clip)
        optimiser.step()
        step += 1
        _follow(average, model, min(stage.ema, (1 + step) / (10 + step)))
        for name, value in terms.items():
            sums[name] = sums.get(name, 0.0) + value.item()
        window += 1
        threads.took(time.monotonic() - began)
        spent += time.monotonic() - began
        if step % 50 == 0:
            means = {name: total / window for name, total in sums.items()}
            _report(log, {"step": step, "seconds": round(spent, 1), "rate": rate} | means)
            sums, window = {}, 0
        if time.monotonic() - last_save > stage.save_every or spent >= budget:
            _save(path, model, average, optimiser, step, spent)
            last_save = time.monotonic()
    return average


def decayed(done: float, decay: float) -> float:
    """The learning rate's factor: 1, then a half cosine down to 0 over the last `decay`."""
    if done < 1 - decay:
        return 1.0
    return 0.5 + 0.5 * math.cos(math.pi * (done - (1 - decay)) / decay)


@torch.no_grad()
def _follow(average: nn.Module, model: nn.Module, keep: float) -> None:
    for ours, theirs in zip(average.parameters(), model.parameters(), strict=True):
        ours.lerp_(theirs, 1 - keep)


def _save(
    path: Path,
    model: nn.Module,
    average: nn.Module,
    optimiser: torch.optim.Optimizer,
    step: int,
    spent: float,
) -> None:
    """Beside it, then renamed: a kill at any moment leaves a whole checkpoint."""
    part = path.with_suffix(".part")
    state = {
        "model": model.state_dict(),
        "average": average.state_dict(),
        "optimiser": optimiser.state_dict(),
        "step": step,
        "spent": spent,
    }
    torch.save(state, part)
    os.replace(part, path)


def _report(log: Path, row: dict[str, float]) -> None:
    print(" ".join(f"{name} {value:.5g}" for name, value in row.items()), flush=True)
    new = not log.exists()
    with log.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow({name: f"{value:.6g}" for name, value in row.items()})


def _trim(log: Path, step: int) -> None:
    """Drop the log's rows beyond the checkpoint: they will be written again."""
    if not log.exists():
        return
    head, *rows = log.read_text().splitlines(keepends=True)
    log.write_text(head + "".join(r for r in rows if int(float(r.split(",")[0])) <= step))


def load_average(model: nn.Module, path: Path) -> None:
    """Put the moving average that a stage left at `path` into `model`."""
    device = next(model.parameters()).device
    model.load_state_dict(torch.load(path, map_location=device, weights_only=True)["average"])
    model.eval()

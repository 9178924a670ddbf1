# ruff: noqa: T201
"""Does any damaged bundle or picture end in anything but a picture or one line that says why not?

    python bench/studies/hostile_files.py --bundles 10000 --pictures 10000 --graphs 2000
        [--seed N] [--minutes M]

Each case is the embedded model, or a picture made on the fly, with one to three mutations: flipped
bits, cuts, splices, edited numbers, deep nesting, repeated keys; of a graph, its nodes, attributes
and tensors (`graph_mutations`). A worker opens it, with a limit on its time and its memory, and is
killed past them; of a graph it opens an engine as well, and runs it. Whatever is neither success
nor an OverpaintError is a finding: its file is kept, and `--only bundle:SEED:NUMBER` tries it
again. Where ONNX Runtime brought down the process, or did not return, that is counted by itself:
what keeps such a graph from it is the manifest's hash, and nothing else.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import multiprocessing
import os
import random
import re
import resource
import shutil
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import numpy as np
from graph_mutations import mutated_graph
from PIL import Image, features
from rich.console import Console
from rich.progress import track

from overpaint.bundle import layout
from overpaint.bundle.arrays import Array
from overpaint.bundle.checkpoint.safetensors import read_header
from overpaint.bundle.errors import OverpaintError
from overpaint.bundle.format.open import open_bundle
from overpaint.bundle.format.verify import verify_bundle
from overpaint.bundle.graph.count import count
from overpaint.bundle.graph.signature import graph_tensors
from overpaint.bundle.tensor import Tensor
from overpaint.bundle.tokenizer.clip import read_clip_tokenizer
from overpaint.bundle.tokenizer.files import pad_token_id
from overpaint.engines.backend import Asked
from overpaint.engines.backends import BACKENDS
from overpaint.engines.session.session import Session
from overpaint.runtime.default_bundle import bundle_or_default
from overpaint.runtime.image import read
from overpaint.runtime.prepare import prepare
from overpaint.runtime.request import Request
from overpaint.runtime.settings import Settings
from overpaint.runtime.text.tokens import load_tokenizer

SECONDS = 5.0
MEMORY = 2 << 30  # bytes, beyond what the worker holds when it starts
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "AVIF")

NUMBERS = (b"-1", b"0", b"1e308", b"-5", b"1000000000", b"9" * 30, b"9" * 5000, b"0.5", b"NaN")
VALUES = (b"null", b"true", b'"x"', b"[]", b"{}", b'"\\ud800"', b"-Infinity", b"[" * 5000)
SCHEDULERS: tuple[dict[str, Any], ...] = (
    {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0, "use_dynamic_shifting": True},
    {"_class_name": "EulerDiscreteScheduler", "use_karras_sigmas": True, "sigma_max": 20.0},
    {"_class_name": "PNDMScheduler", "skip_prk_steps": True, "steps_offset": 1},
    {"_class_name": "LCMScheduler", "original_inference_steps": 50, "beta_end": 0.012},
    {"_class_name": "UniPCMultistepScheduler", "solver_order": 2, "disable_corrector": [1]},
    {"_class_name": "DDIMScheduler", "rescale_betas_zero_snr": True, "trained_betas": None},
)

Kind = Literal["bundle", "picture", "graph"]


@dataclass(frozen=True, slots=True)
class Case:
    """A case, which its seed and number make the same again anywhere."""

    kind: Kind
    seed: int
    number: int

    def __str__(self) -> str:
        return f"{self.kind}:{self.seed}:{self.number}"


@dataclass(frozen=True, slots=True)
class Finding:
    """A case that ended in neither success nor an OverpaintError, and how. `ours` is False where
    ONNX Runtime had the graph in hand when the process ended, or its time did."""

    case: str
    how: str
    ours: bool = True


# --- mutations: bytes in, other bytes out


def _flip(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 4, 32))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def _splice(rng: random.Random, data: bytes) -> bytes:
    """A piece of it is copied elsewhere, over what is there or between."""
    start, at = rng.randrange(len(data)), rng.randrange(len(data))
    piece = data[start : start + rng.choice((1, 4, 16, 256))] * rng.choice((1, 1, 50))
    return data[:at] + piece + data[at + rng.choice((0, len(piece))) :]


def _overwrite(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    junk = rng.choice((b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0" * 8, rng.randbytes(8)))
    return data[:at] + junk + data[at + len(junk) :]


def _number(rng: random.Random, data: bytes) -> bytes:
    return _replaced(rng, data, rb"-?\d+(\.\d+)?", NUMBERS + VALUES)


def _value(rng: random.Random, data: bytes) -> bytes:
    return _replaced(rng, data, rb'"[^"]*"(?=\s*[,}\]])|true|false|null', NUMBERS + VALUES)


def _twice(rng: random.Random, data: bytes) -> bytes:
    return _replaced(rng, data, rb'"\w+":\s*[\w".-]+,', (b"",), lambda found: found + found)


def _replaced(
    rng: random.Random,
    data: bytes,
    pattern: bytes,
    by: tuple[bytes, ...],
    make: Callable[[bytes], bytes] | None = None,
) -> bytes:
    found = list(re.finditer(pattern, data[: 1 << 17]))
    if not found:
        return _flip(rng, data)
    one = rng.choice(found)
    return data[: one.start()] + (make(one[0]) if make else rng.choice(by)) + data[one.end() :]


BINARY = (_flip, _cut, _splice, _overwrite)
TEXT = (_number, _number, _number, _value, _value, _twice, *BINARY)


def mutated(rng: random.Random, data: bytes, *, text: bool) -> bytes:
    """`data` after one to three mutations."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        data = rng.choice(TEXT if text else BINARY)(rng, data or b"\0")
    return data


# --- bundles


class Bundles:
    """The embedded model in a folder of its own, one mutation at a time."""

    def __init__(self, room: Path) -> None:
        self.base = room / "base"
        self.folder = room / "bundle"
        shutil.copytree(bundle_or_default(None), self.base)
        shutil.copytree(self.base, self.folder, copy_function=os.link)
        self.files = sorted(
            path.relative_to(self.base).as_posix()
            for path in self.base.rglob("*")
            if path.suffix in (".json", ".onnx", ".safetensors", ".txt")
        )

    def make(self, case: Case) -> dict[str, bytes | None]:
        """What each changed file holds; None: it is gone."""
        rng = random.Random(str(case))
        changed: dict[str, bytes | None] = {}
        if rng.random() < 0.3:
            changed[layout.MANIFEST] = None
        scheduler = (self.base / layout.SCHEDULER_CONFIG).read_bytes()
        if rng.random() < 0.3:
            scheduler = json.dumps(rng.choice(SCHEDULERS)).encode()
            changed[layout.SCHEDULER_CONFIG] = scheduler
        path = rng.choice(self.files + [layout.MANIFEST, layout.SCHEDULER_CONFIG] * 4)
        data = (self.base / path).read_bytes()
        if path == layout.SCHEDULER_CONFIG:
            data = scheduler
        if path.endswith(".safetensors"):
            length = 8 + int.from_bytes(data[:8], "little")
            changed[path] = mutated(rng, data[:length], text=rng.random() < 0.7) + data[length:]
        else:
            changed[path] = mutated(rng, data, text=path.endswith((".json", ".txt")))
        if layout.MANIFEST not in changed and rng.random() < 0.9:
            changed[layout.MANIFEST] = self.vouching(changed)
        return changed

    def vouching(self, changed: dict[str, bytes | None]) -> bytes:
        """The manifest of who made the damage."""
        manifest = json.loads((self.base / layout.MANIFEST).read_bytes())
        for path, data in changed.items():
            if data is not None and path in manifest["files"]:
                sha256 = hashlib.sha256(data).hexdigest()
                manifest["files"][path] |= {"size": len(data), "sha256": sha256}
        return json.dumps(manifest).encode()

    def run(self, case: Case) -> None:
        """Raises whatever comes of it."""
        changed = self.make(case)
        with self.holding(changed):
            if case.number % 10 == 0:  # which hashes 18 MB
                _tolerant(partial(verify_bundle, self.folder))
            _tolerant(self._open)
            for path in changed:
                for reader in _readers(self.folder / path):
                    _tolerant(reader)

    @contextlib.contextmanager
    def holding(self, changed: dict[str, bytes | None]) -> Iterator[None]:
        """The folder with these files changed, and as it was afterwards."""
        for path, data in changed.items():
            (self.folder / path).unlink()
            if data is not None:
                (self.folder / path).write_bytes(data)
        try:
            yield
        finally:
            for path in changed:
                (self.folder / path).unlink(missing_ok=True)
                os.link(self.base / path, self.folder / path)

    def _open(self) -> None:
        bundle = open_bundle(self.folder)
        for sampler in ("default", "euler", "dpmpp-2m", "flow-euler"):
            settings = Settings(size=(64, 64), steps=4, sampler=sampler)
            _tolerant(partial(prepare, bundle, Request(None, "a hill", settings)))

    def keep(self, case: Case, folder: Path) -> None:
        """Write the files that differ from the embedded model's."""
        self.write(self.make(case), case, folder)

    @staticmethod
    def write(changed: dict[str, bytes | None], case: Case, folder: Path) -> None:
        for path, data in changed.items():
            if data is not None:
                _write(folder / str(case).replace(":", "-") / path, data)


def _readers(path: Path) -> Iterator[Callable[[], object]]:
    """What reads this file, hashed or not: the bundle's first refusal would hide the rest."""
    if path.suffix == ".onnx":
        yield partial(graph_tensors, path)
        yield partial(count, path)
    elif path.suffix == ".safetensors":
        yield partial(read_header, path)
    elif path.parent.name == "tokenizer":
        yield lambda: load_tokenizer(path.parent).encode("a hill, in winter 7")
        yield lambda: read_clip_tokenizer(path.parent).encode("a hill, in winter 7")
        yield partial(pad_token_id, path.parent)


def _tolerant(act: Callable[[], object]) -> None:
    try:
        act()
    except OverpaintError as error:
        if "\n" in str(error):
            raise AssertionError(f"a message of several lines: {error!r}") from error
        if _ran_out_of_memory(error):
            raise MemoryError(str(error)) from error


def _ran_out_of_memory(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False


# --- graphs


class Graphs:
    """The embedded model with one graph changed, and a manifest that vouches for it."""

    def __init__(self, room: Path) -> None:
        self.bundles = Bundles(room)
        self.folder = self.bundles.folder
        self._components = open_bundle(self.folder).manifest.components

    def make(self, case: Case) -> tuple[str, dict[str, bytes | None]]:
        """The component, and what each changed file holds."""
        rng = random.Random(str(case))
        component = rng.choice(sorted(self._components))
        path = self._components[component].graph
        changed: dict[str, bytes | None] = {
            path: mutated_graph(rng, (self.bundles.base / path).read_bytes())
        }
        changed[layout.MANIFEST] = self.bundles.vouching(changed)
        return component, changed

    def run(self, case: Case) -> None:
        """Open the engine and run it once on nothing in particular."""
        component, changed = self.make(case)
        with self.bundles.holding(changed):
            _tolerant(partial(self.run_engine, component))

    def open_engine(self, component: str) -> Session:
        return BACKENDS["cpu"].open_session(open_bundle(self.folder), component, Asked())

    def run_engine(self, component: str) -> None:
        with self.open_engine(component) as session:
            session.run(self._feed(component, session))

    def _feed(self, component: str, session: Session) -> dict[str, Array]:
        ranges = self._components[component].ranges

        def array(one: Tensor) -> Array:
            shape = [size if isinstance(size, int) else ranges[size].minimum for size in one.shape]
            return np.ones(shape, one.dtype)

        return {name: array(one) for name, one in session.inputs.items()}

    def keep(self, case: Case, folder: Path) -> None:
        self.bundles.write(self.make(case)[1], case, folder)


# --- pictures


class Pictures:
    """Small pictures in every format that Pillow reads and writes here."""

    def __init__(self, room: Path) -> None:
        self.pictures = [data for name in formats() for data in _pictures(name)]

    def make(self, case: Case) -> bytes:
        rng = random.Random(str(case))
        return mutated(rng, rng.choice(self.pictures), text=False)

    def run(self, case: Case) -> None:
        _tolerant(partial(read, self.make(case)))

    def keep(self, case: Case, folder: Path) -> None:
        _write(folder / str(case).replace(":", "-"), self.make(case))


def formats() -> list[str]:
    """The formats that this Pillow knows."""
    return [name for name in FORMATS if name != "AVIF" or features.check("avif")]


def _pictures(name: str) -> Iterator[bytes]:
    ramp = Image.linear_gradient("L").resize((48, 40))
    colours = Image.merge("RGB", (ramp, ramp.rotate(90), ramp.rotate(180)))
    modes = [colours, colours.convert("L")]
    if name in ("PNG", "WEBP", "TIFF", "GIF"):
        modes += [colours.convert("RGBA"), colours.quantize(16)]
    exif = Image.Exif()
    exif[0x0112] = 6
    for image in modes:
        for options in ({}, {"progressive": True, "exif": exif} if name == "JPEG" else {}):
            into = io.BytesIO()
            image.save(into, name, **options)
            yield into.getvalue()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


# --- workers

KINDS: dict[Kind, type[Bundles] | type[Pictures] | type[Graphs]] = {
    "bundle": Bundles,
    "picture": Pictures,
    "graph": Graphs,
}


def _work(kind: Kind, room: Path, pipe: Connection) -> None:
    """Try the cases that come through `pipe`; answer each with what escaped, or nothing."""
    os.environ["XDG_CACHE_HOME"] = str(room / "cache")
    warnings.simplefilter("ignore")
    subject = KINDS[kind](room)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, held + MEMORY))
    pipe.send("ready")
    while case := pipe.recv():
        try:
            subject.run(case)
        except BaseException:  # a panic of a Rust library is no Exception
            pipe.send("".join(traceback.format_exc(limit=-4)))
        else:
            pipe.send(None)


class Worker:
    """A process that may be killed, and is made again when it was."""

    def __init__(self, kind: Kind, room: Path) -> None:
        self.kind, self.room, self.made = kind, room, 0
        self._start()

    def _start(self) -> None:
        self.made += 1
        ours, theirs = multiprocessing.Pipe()
        room = self.room / f"{self.kind}-{self.made}"
        room.mkdir(parents=True)
        context = multiprocessing.get_context("fork")
        self.process = context.Process(target=_work, args=(self.kind, room, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.pipe = ours
        assert self.pipe.recv() == "ready"

    def run(self, case: Case) -> Finding | None:
        """What went wrong with a case, if anything."""
        self.pipe.send(case)
        how = f"took more than {SECONDS:g} s"
        try:
            if self.pipe.poll(SECONDS):
                answer: str | None = self.pipe.recv()
                return None if answer is None else Finding(str(case), answer)
        except EOFError:
            self.process.join()
            how = f"its process ended with {self.process.exitcode}"
        self.close()
        self._start()
        return Finding(str(case), how, ours=case.kind != "graph")

    def close(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def study(
    cases: Iterator[Case], *, keep: Path, minutes: float = 1e9, quiet: bool = False
) -> tuple[Counter[str], list[Finding]]:
    """Try every case, and keep the files of the findings: (cases by kind, findings)."""
    tried: Counter[str] = Counter()
    findings: list[Finding] = []
    end = perf_counter() + minutes * 60
    workers: dict[Kind, Worker] = {}
    with tempfile.TemporaryDirectory() as room:
        try:
            for case in track(list(cases), "opening", disable=quiet, console=Console(stderr=True)):
                if perf_counter() > end:
                    break
                if case.kind not in workers:
                    workers[case.kind] = Worker(case.kind, Path(room))
                found = workers[case.kind].run(case)
                tried[case.kind] += 1
                if found is not None:
                    findings.append(found)
                    print(f"\n{case}\n{found.how}", file=sys.stderr)
                    own = Path(room) / f"keep-{len(findings)}"
                    own.mkdir()
                    KINDS[case.kind](own).keep(case, keep)
        finally:
            for worker in workers.values():
                worker.close()
    return tried, findings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundles", type=int, default=1000, help="%(default)s")
    parser.add_argument("--pictures", type=int, default=1000, help="%(default)s")
    parser.add_argument("--graphs", type=int, default=200, help="%(default)s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after so many")
    parser.add_argument("--keep", type=Path, default=Path("hostile-findings"))
    parser.add_argument("--only", help="one case again, as a finding names it")
    chosen = parser.parse_args()
    if chosen.only:
        kind, seed, number = chosen.only.split(":")
        chosen.seed = int(seed)
        cases = [Case(kind, chosen.seed, int(number))]
    else:
        cases = [Case("bundle", chosen.seed, number) for number in range(chosen.bundles)]
        cases += [Case("picture", chosen.seed, number) for number in range(chosen.pictures)]
        cases += [Case("graph", chosen.seed, number) for number in range(chosen.graphs)]
    began = perf_counter()
    tried, findings = study(iter(cases), keep=chosen.keep, minutes=chosen.minutes)
    summary = {
        "seed": chosen.seed,
        **{f"{kind}s": tried[kind] for kind in KINDS},
        "seconds": round(perf_counter() - began),
        "findings": [{"case": one.case, "how": one.how} for one in findings if one.ours],
        "onnxruntime": Counter(one.how for one in findings if not one.ours),
    }
    print(json.dumps(summary, indent=2))
    sys.exit(any(one.ours for one in findings))


if __name__ == "__main__":
    main()

# ruff: noqa: T201
"""Everything that is to be measured on a GPU, in one go: ours against diffusers, at true sizes.

    python bench/studies/gpu.py --output bench/results/gpu.json
    python bench/studies/gpu.py --output gpu.json --cases sd-turbo-1,sdxl --against diffusers
    python bench/studies/gpu.py --output dry.json --dry-run   the embedded model, 64x64

Checkpoints have their architecture's true size and random weights from a seed, in float16; ours are
imported (no torch needed), the torch peers read the very same files. `overpaint bench` does the
measuring, each contender in a process of its own; a peer that is not installed is left out with a
word. On ONNX Runtime `cuda_options.py` then says what of a step is not the engine's, and, for the
cases of --options, what each option of the provider brings, and `node_times.py` where the time
goes; with --device tensorrt plans are built first. A case that fails says why and does not stop the
others. Written after each case.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from overpaint.bundle import layout

OVERPAINT: Final = Path(sys.executable).with_name("overpaint")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One point. `architecture` as `overpaint import --like` has it; None: the embedded model."""

    name: str
    architecture: str | None
    size: str
    steps: int
    strength: float
    guidance: float


TURBO: Final[dict[str, Any]] = {
    "architecture": "sd2.1-base",
    "size": "512x512",
    "strength": 1,
    "guidance": 1,
}
CASES: Final = (
    Case(name="sd1.5", architecture="sd1.5", size="512x512", steps=20, strength=0.8, guidance=7.5),
    Case(name="sd-turbo-1", steps=1, **TURBO),
    Case(name="sd-turbo-4", steps=4, **TURBO),
    Case(name="sdxl", architecture="sdxl-base", size="1024x1024", steps=20, strength=0.6,
         guidance=5),
    Case(name="sd3.5-medium", architecture="sd3.5-medium", size="1024x1024", steps=20,
         strength=0.6, guidance=4.5),
)  # fmt: skip
DRY: Final = (Case(name="dry", architecture=None, size="64x64", steps=2, strength=0.5, guidance=2),)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="a JSON file, kept up to date")
    parser.add_argument("--cases", help="names, with commas between; absent, all")
    parser.add_argument("--against", default="diffusers,compile", help="%(default)s; or none")
    parser.add_argument("--device", default="cuda", help="%(default)s; or tensorrt, tensorrt-rtx")
    parser.add_argument(
        "--options",
        default="sd1.5,sdxl",
        help="cases in which each option is tried: %(default)s; or none",
    )
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--work", type=Path, help="where checkpoints are written (20 GB)")
    parser.add_argument("--dry-run", action="store_true", help="one small case on the processor")
    chosen = parser.parse_args(arguments)
    known = DRY if chosen.dry_run else CASES
    names = chosen.cases.split(",") if chosen.cases else [case.name for case in known]
    if unknown := set(names) - {case.name for case in known}:
        parser.error(f"--cases: {', '.join(sorted(unknown))}: expected some of "
                     f"{', '.join(case.name for case in known)}")  # fmt: skip
    if not chosen.dry_run:
        check(chosen.device)
    results: list[dict[str, Any]] = []
    for case in (case for case in known if case.name in names):
        print(f"{case.name}: {case.size}, {case.steps} steps …", flush=True)
        start = time.perf_counter()
        outcome = measured(case, chosen)
        results.append({"case": asdict(case), **outcome})
        chosen.output.parent.mkdir(parents=True, exist_ok=True)
        chosen.output.write_text(json.dumps(results, indent=1) + "\n")
        for line in told(outcome):
            print(f"  {line}")
        print(f"  {time.perf_counter() - start:.0f} s in all", flush=True)


def check(device: str) -> None:
    """Better now than after gigabytes of checkpoint: is the device here?"""
    from overpaint.bundle.errors import OverpaintError
    from overpaint.bundle.format.open import open_bundle
    from overpaint.engines.choose import choose
    from overpaint.engines.tensorrt.choose import this_machine
    from overpaint.engines.tensorrt.edition import EDITIONS
    from overpaint.engines.tensorrt.libraries import library
    from overpaint.runtime.default_bundle import bundle_or_default

    try:
        if edition := EDITIONS.get(device):  # there is no plan yet to ask for
            print(library(edition.builder), "on", this_machine(edition).gpu)
            return
        print(choose(open_bundle(bundle_or_default(None)), device).chosen.why)
    except OverpaintError as error:
        raise SystemExit(f"bench/studies/gpu.py: {error}") from None


def measured(case: Case, chosen: argparse.Namespace) -> dict[str, Any]:
    """`report`: what `overpaint bench` says; `options` and `nodes`: what cuda_options.py and
    node_times.py do; `build`: what `overpaint build` does. Where one failed, `failed` says why, and
    there are no more."""
    found: dict[str, Any] = {}
    device = "cpu" if chosen.dry_run else chosen.device
    try:
        with model(case, chosen.work) as (bundle, checkpoint):
            if device.startswith("tensorrt"):
                found["build"] = json.loads(run(build_command(case, bundle, device)))
            against = [] if chosen.against == "none" else ["--against", chosen.against, *checkpoint]
            command = bench_command(case, bundle, device, chosen.repeats)
            found["report"] = json.loads(run([*command, *against]))
            if device == "cuda":
                output = Path(bundle[0]).with_name("options.json")
                every = case.name in chosen.options.split(",")
                run(options_command(case, bundle, output, [] if every else ["--only", "none"]))
                found["options"] = json.loads(output.read_text())
                for component in ([], ["--component", layout.VAE_DECODER]):
                    run(nodes_command(case, bundle, output, component))
                    found.setdefault("nodes", []).append(json.loads(output.read_text()))
    except Exception as error:
        found["failed"] = f"{type(error).__name__}: {error}"
    return found


def bench_command(case: Case, bundle: Sequence[str], device: str, repeats: int) -> list[str]:
    return [
        str(OVERPAINT), "bench", *bundle, "--json", "--size", case.size,
        "--steps", str(case.steps), "--strength", str(case.strength),
        "--guidance-scale", str(case.guidance), "--repeats", str(repeats),
        "--cold", "1", "--device", device,
    ]  # fmt: skip


def build_command(case: Case, bundle: Sequence[str], engine: str) -> list[str]:
    width, height = case.size.split("x")
    shape = f"1x{height}x{width}"
    return [str(OVERPAINT), "build", *bundle, "--engine", engine, "--shape", shape, "--json"]


def options_command(
    case: Case, bundle: Sequence[str], output: Path, only: Sequence[str]
) -> list[str]:
    script = Path(__file__).with_name("cuda_options.py")
    return [
        sys.executable, str(script), *bundle, "--size", case.size,
        "--guidance-scale", str(case.guidance), "--output", str(output), *only,
    ]  # fmt: skip


def nodes_command(
    case: Case, bundle: Sequence[str], output: Path, component: Sequence[str]
) -> list[str]:
    script = Path(__file__).with_name("node_times.py")
    size = ["--size", case.size, "--output", str(output)]
    return [sys.executable, str(script), *bundle, *size, *component]


@contextmanager
def model(case: Case, work: Path | None) -> Iterator[tuple[list[str], list[str]]]:
    """The words that name a bundle and its checkpoint to `overpaint bench`; gone at the end."""
    if case.architecture is None:
        yield [], []
        return
    from real_checkpoint import write_folder

    from overpaint.bundle.importing import import_checkpoint
    from overpaint.bundle.importing.library import open_library

    folder = Path(tempfile.mkdtemp(prefix="overpaint-gpu-", dir=work))
    try:
        checkpoint = write_folder(
            open_library(), case.architecture, folder / "checkpoint", without=("text_encoder_3",)
        )
        print("  a checkpoint with random weights is written", flush=True)
        import_checkpoint(checkpoint, folder / "bundle", dtype="float16")
        print("  imported", flush=True)
        yield [str(folder / "bundle")], ["--checkpoint", str(checkpoint)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise RuntimeError(said[-1] if said else f"exit code {done.returncode}")
    return done.stdout


def told(outcome: dict[str, Any]) -> Iterator[str]:
    """A line a contender, and what of a step is not the engine's."""
    if why := outcome.get("failed"):
        yield f"failed: {why}"
    for one in outcome.get("report", {"runs": ()})["runs"]:
        if one["latency_ms"] is None:
            yield f"{one['peer']:<10} {one['status']}: {one['why']}"
            continue
        ratio = f", {one['ratio']['value']:.2f} of ours" if one["ratio"] else ""
        cold = one["cold_start"]["first_image_s"][0]
        yield (
            f"{one['peer']:<10} {one['latency_ms']['p50']:9.1f} ms{ratio}; "
            f"first picture after {cold:.1f} s; {one['device'] or ''}"
        )
    if options := outcome.get("options"):
        ours = options["rows"][0]
        yield (
            f"a step: {ours['step']:.3f} ms in the engine, {ours['copies']:.3f} of them copies; "
            f"{ours['host']:.3f} ms of arithmetic; {ours['around']:.1%} of both are not the GPU's"
        )


if __name__ == "__main__":
    main()

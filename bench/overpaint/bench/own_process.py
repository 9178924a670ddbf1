"""overpaint as one contender: the same conversation as peer_process, on our own pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from .peer_process import STEP, Contender, serve


def load() -> Callable[[dict[str, Any]], Contender]:
    from overpaint.runtime.pipeline import Img2Img
    from overpaint.runtime.request import Request
    from overpaint.runtime.result import Result
    from overpaint.runtime.settings import Settings

    def open_model(job: dict[str, Any]) -> Contender:
        pipe = Img2Img.open(job["bundle"], device=job["device"], precision=job["precision"]).wait()
        settings = Settings(
            strength=job["strength"],
            steps=job["steps"],
            guidance_scale=job["guidance_scale"],
            sampler=job["sampler"],
            seed=job["seed"],
            n=job["images"],
            steps_mode=job["steps_mode"],
            fidelity=job["fidelity"],
        )
        request = Request(Path(job["image"]), job["prompt"], settings)
        results: list[Result] = []

        def paint() -> list[Any]:
            # Peers encode the prompt at every call: remembering it would be less work than theirs.
            pipe.forget_prompts()
            results[:] = [pipe.run(request)]
            return list(over([request.image])) if job["ahead"] else list(results[0].images)

        def over(frames: Iterable[Any]) -> Iterator[Any]:
            if job["ahead"]:
                asked = {k: v for k, v in asdict(settings).items() if v is not None}
                with pipe.live(job["prompt"], **asked) as live:
                    yield from live.over(frames, ahead=job["ahead"])
                return
            for frame in frames:
                yield pipe.run(replace(request, image=frame)).images[0]

        def stages() -> dict[str, list[float]]:
            timings = results[0].timings
            computed = [step.engine for step in timings.steps if step.engine]  # not foretold
            return {
                "read": [timings.read],
                "text": [timings.text],
                "encode": [timings.encode],
                STEP: computed,
                "step, host": [step.host for step in timings.steps],
                "decode": [timings.decode],
            }

        def did() -> dict[str, Any]:
            manifest, result = pipe.bundle.manifest, results[0]
            return {
                "denoiser_calls": len(result.timings.steps),
                "evaluations": result.evaluations,
                "guidance": result.parameters.guidance == "classifier-free",
                "precision": {
                    name: "bfloat16" if job["precision"] == "bf16" else component.compute_dtype
                    for name, component in manifest.components.items()
                },
                "device": result.device,
                "warnings": list(result.warnings),
            }

        from .machine import installed_versions

        return Contender(paint, over, stages, did, installed_versions())

    return open_model


if __name__ == "__main__":
    serve(load)

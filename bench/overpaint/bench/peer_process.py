"""One contender in a process of its own: it opens a model, then paints whenever it is told to.

    python peer_process.py diffusers|compile|optimum|streamdiffusion < a job, then commands

Run by its path, with the interpreter of whichever environment has the library, so it imports
nothing of overpaint's. Answers are JSON, a line each. After the job: what was imported, opened and
painted first, in seconds since the process was asked for. After `paint`: milliseconds. After
`play N RATE`: how N frames went. After `end`: memory, and the process is over.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Ours -> diffusers' class and what makes it the same sampler (docs/samplers.md).
SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "euler": ("EulerDiscreteScheduler", {}),
    "euler-a": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "ddim": ("DDIMScheduler", {"clip_sample": False}),
    "ddpm": ("DDPMScheduler", {"clip_sample": False}),
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),
    "dpmpp-2m": ("DPMSolverMultistepScheduler", {}),
    "dpmpp-2m-sde": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "lcm": ("LCMScheduler", {"clip_sample": False}),
    "tcd": ("TCDScheduler", {}),
    "flow-euler": ("FlowMatchEulerDiscreteScheduler", {}),
}
STEP = "step, engine"


@dataclass(frozen=True, slots=True)
class Contender:
    """An opened model. `paint` makes the pictures; `did` says what the first painting did. `over`
    repaints frames, in order."""

    paint: Callable[[], list[Any]]
    over: Callable[[Iterable[Any]], Iterator[Any]]
    stages: Callable[[], dict[str, list[float]]]
    did: Callable[[], dict[str, Any]]
    versions: dict[str, str]


def serve(load: Callable[[], Callable[[dict[str, Any]], Contender]]) -> None:
    """Answer on stdout; what libraries print goes to stderr. `load` imports, and returns `open`."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**fields: Any) -> None:
        answers.write(json.dumps(fields) + "\n")
        answers.flush()

    job = json.loads(sys.stdin.readline())
    try:
        open_model = load()
        imported = time.time() - job["asked"]
        contender = open_model(job)
        opened, resident = time.time() - job["asked"], memory("VmRSS")
        images = contender.paint()
        first = time.time() - job["asked"]
    except ModuleNotFoundError as error:
        return answer(missing=error.name)
    except Exception as error:
        return answer(failed=f"{type(error).__name__}: {' '.join(str(error).split())[:400]}")
    images[0].save(job["picture"])
    answer(
        imported=imported,
        opened=opened,
        first=first,
        resident=resident,
        did={**contender.did(), "images": len(images), "size": list(images[0].size)},
        versions=contender.versions,
    )
    for command in sys.stdin:
        if command.strip() == "end":
            return answer(resident=memory("VmRSS"), peak=memory("VmHWM"))
        if command.startswith("play"):
            count, rate = command.split()[1:]
            answer(**play(contender.over, job["image"], int(count), float(rate)))
            continue
        started = time.perf_counter()
        contender.paint()
        answer(ms=(time.perf_counter() - started) * 1e3, stages=contender.stages())
    return None


def play(
    over: Callable[[Iterable[Any]], Iterator[Any]], image: str, count: int, rate: float
) -> dict[str, Any]:
    """Frames of a picture that moves, through `over`. As fast as they are taken, or, with a rate
    above 0, as a camera has so many a second: who is late gets the newest, the others are dropped.

    Seconds in all and of this process's processors; each frame's, from when it was there until it
    was repainted.
    """
    import numpy as np
    from PIL import Image

    with Image.open(image) as file:
        pixels = np.asarray(file.convert("RGB"))
    there: list[float] = []
    latencies: list[float] = []

    def camera() -> Iterator[Any]:
        frame = 0
        while frame < count:
            late = time.perf_counter() - started - frame / rate if rate else 0.0
            if late < 0:
                time.sleep(-late)
            elif rate:
                frame = min(frame + int(late * rate), count - 1)
            there.append(started + frame / rate if rate else time.perf_counter())
            yield Image.fromarray(np.roll(pixels, -2 * frame, axis=1))
            frame += 1

    started, used = time.perf_counter(), time.process_time()
    for shown, _ in enumerate(over(camera())):
        latencies.append(time.perf_counter() - there[shown])
    return {
        "seconds": time.perf_counter() - started,
        "processor_seconds": time.process_time() - used,
        "latencies": latencies,
        "dropped": count - len(latencies),
    }


def memory(field: str) -> float:
    """MB of this process: VmRSS now, VmHWM at its peak."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) * 1024 / 1e6
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def load_diffusers(*, compiled: bool) -> Callable[[dict[str, Any]], Contender]:
    import diffusers
    import torch
    import transformers

    def open_model(job: dict[str, Any]) -> Contender:
        dtype = getattr(torch, job["dtype"])
        pipe = _pipeline(Path(job["folder"]), dtype).to(job["torch_device"])
        denoiser = "transformer" if getattr(pipe, "unet", None) is None else "unet"
        precision = {name: str(module.dtype) for name, module in _modules(pipe).items()}
        if job["vae_dtype"] == "float32" != job["dtype"]:
            precision |= dict.fromkeys(("vae_encoder", "vae_decoder"), "float32")
            if not hasattr(pipe, "upcast_vae"):  # SDXL's pipelines do that themselves
                _compute_in_float32(pipe.vae)
        if compiled:
            setattr(pipe, denoiser, torch.compile(getattr(pipe, denoiser)))
            pipe.vae.decode = torch.compile(pipe.vae.decode)
        versions = {"torch": torch.__version__, "diffusers": diffusers.__version__}
        versions["transformers"] = transformers.__version__
        return _contender(pipe, job, precision, versions)

    return open_model


def load_optimum() -> Callable[[dict[str, Any]], Contender]:
    from importlib.metadata import version

    import onnxruntime
    import optimum.onnxruntime as optimum
    import torch

    def open_model(job: dict[str, Any]) -> Contender:
        index = json.loads((Path(job["bundle"]) / "model_index.json").read_text())
        family = index["_class_name"].removesuffix("Pipeline").removesuffix("Img2Img")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = job["threads"]
        cuda = job["torch_device"] == "cuda"
        pipe = getattr(optimum, f"ORT{family}Img2ImgPipeline").from_pretrained(
            job["bundle"],
            session_options=options,
            provider="CUDAExecutionProvider" if cuda else "CPUExecutionProvider",
        )
        parts = (
            *("text_encoder", "text_encoder_2", "text_encoder_3", "unet", "transformer"),
            *("vae_encoder", "vae_decoder"),
        )
        found = {name: getattr(pipe, name, None) for name in parts}
        precision = {name: str(one.dtype) for name, one in found.items() if one is not None}
        names = ("optimum-onnx", "onnxruntime", "diffusers", "transformers")
        versions = {name: version(name) for name in names} | {"torch": torch.__version__}
        return _contender(pipe, job, precision, versions)

    return open_model


def load_streamdiffusion() -> Callable[[dict[str, Any]], Contender]:
    """StreamDiffusion as its authors run it, without TensorRT: frames at different steps share a
    call, and each comes out as many calls later."""
    from importlib.metadata import version

    import torch
    from streamdiffusion import StreamDiffusion

    def open_model(job: dict[str, Any]) -> Contender:
        from PIL import Image

        if job["torch_device"] == "cpu":
            _without_cuda_timers(torch)
        dtype = getattr(torch, job["dtype"])
        pipe = _pipeline(Path(job["folder"]), dtype).to(job["torch_device"])
        with Image.open(job["image"]) as file:
            image = file.convert("RGB")
        run = min(int(job["steps"] * job["strength"]), job["steps"])
        rows = list(range(job["steps"] - run, job["steps"]))
        stream = StreamDiffusion(pipe, rows, dtype, *image.size, cfg_type="none")
        stream.prepare(
            job["prompt"],
            num_inference_steps=job["steps"],
            guidance_scale=1.0,
            generator=torch.Generator(),
            seed=job["seed"],
        )
        _noise_as_in_diffusers(stream, job["seed"], run)

        def repaint(frame: Any) -> Any:
            stream.generator.manual_seed(job["seed"])  # the posterior's noise is drawn of it first
            return stream.image_processor.postprocess(stream(frame), output_type="pil")[0]

        def over(frames: Iterable[Any]) -> Iterator[Any]:
            frame = None
            for entered, frame in enumerate(frames, 1):
                out = repaint(frame)
                if entered >= run:
                    yield out
            for _ in range(run - 1):  # what is under way comes out when others follow it
                yield repaint(frame)

        def paint() -> list[Any]:
            return [[repaint(image) for _ in range(run)][-1]]

        def did() -> dict[str, Any]:
            precision = {name: str(part.dtype) for name, part in _modules(pipe).items()}
            return {"denoiser_calls": run, "guidance": False, "precision": _bare(precision)}

        names = ("streamdiffusion", "diffusers", "transformers", "torch")
        return Contender(paint, over, dict, did, {name: version(name) for name in names})

    return open_model


def _bare(precision: dict[str, str]) -> dict[str, str]:
    """Torch's names of types without its own."""
    return {name: dtype.removeprefix("torch.") for name, dtype in precision.items()}


def _noise_as_in_diffusers(stream: Any, seed: int, run: int) -> None:
    """Its own is drawn before the posterior's, and for latents of 4 channels."""
    import torch

    shape = (1, stream.vae.config.latent_channels, stream.latent_height, stream.latent_width)
    generator = torch.Generator().manual_seed(seed)
    _, *noise = (torch.randn(shape, generator=generator) for _ in range(1 + run))
    stream.init_noise = torch.cat(noise).to(stream.device, stream.dtype)
    if run > 1:
        stream.x_t_latent_buffer = torch.zeros_like(stream.init_noise[1:])


def _without_cuda_timers(torch: Any) -> None:
    """It times each frame by CUDA's events, which a processor has none of; nothing depends on them
    but the pause for frames that it skips, and it skips none here."""

    class Event:
        def __init__(self, *, enable_timing: bool) -> None: ...

        def record(self) -> None: ...

        def elapsed_time(self, end: Any) -> float:
            return 0.0

    torch.cuda.Event, torch.cuda.synchronize = Event, lambda: None


def _pipeline(folder: Path, dtype: Any) -> Any:
    """diffusers' image-to-image pipeline from a checkpoint's folder, or a bundle's."""
    import diffusers
    import transformers

    index = json.loads((folder / "model_index.json").read_text())
    parts: dict[str, Any] = {}
    for name, entry in index.items():
        if not isinstance(entry, list):
            continue
        library, kind = entry
        path = folder / name
        if name == "vae" and not path.is_dir():
            path = folder / "vae_decoder"  # a bundle's: both folders hold the one VAE
        if kind is None:
            parts[name] = None
        elif library == "transformers":
            told = {} if "token" in name else {"dtype": dtype}
            parts[name] = getattr(transformers, kind).from_pretrained(path, **told)
        else:
            told = {} if name == "scheduler" else {"torch_dtype": dtype}
            parts[name] = getattr(diffusers, kind).from_pretrained(path, **told)
    made = getattr(diffusers, index["_class_name"])
    takes = inspect.signature(made.__init__).parameters
    plain = {k: v for k, v in index.items() if k in takes and not isinstance(v, list)}
    # An index may leave out what its pipeline insists on: a safety checker, which nobody has here.
    required = [k for k, v in takes.items() if v.default is v.empty and k != "self"]
    kept = {k: parts.get(k) for k in takes if k in parts or k in required}
    own = made(**kept, **plain)
    if index["_class_name"] == "Flux2KleinPipeline":  # which has strength there alone
        return diffusers.Flux2KleinInpaintPipeline.from_pipe(own)
    return diffusers.AutoPipelineForImage2Image.from_pipe(own)


def _modules(pipe: Any) -> dict[str, Any]:
    """The networks under the names that bundles give them."""
    found = {name: part for name, part in pipe.components.items() if hasattr(part, "parameters")}
    vae = found.pop("vae")
    return {**found, "vae_encoder": vae, "vae_decoder": vae}


def _compute_in_float32(vae: Any) -> None:
    """As ours does where the checkpoint asks for it (`force_upcast`), in a pipeline of halves."""
    vae.float()
    for method in ("encode", "decode"):
        call = getattr(vae, method)

        def upcast(x: Any, *rest: Any, _call: Any = call, **named: Any) -> Any:
            return _call(x.float(), *rest, **named)

        setattr(vae, method, upcast)


def _contender(
    pipe: Any, job: dict[str, Any], precision: dict[str, str], versions: dict[str, str]
) -> Contender:
    import diffusers
    import torch
    from PIL import Image

    pipe.set_progress_bar_config(disable=True)
    if job["sampler"] != "default":
        name, changes = SCHEDULERS[job["sampler"]]
        config = pipe.scheduler.config
        pipe.scheduler = getattr(diffusers, name).from_config(config, **changes)
    with Image.open(job["image"]) as file:
        image = file.convert("RGB")
    options: dict[str, Any] = {
        "prompt": job["prompt"],
        "image": image,
        "strength": job["strength"],
        "num_inference_steps": job["steps"],
        "num_images_per_prompt": job["images"],
        **_of_family(pipe, job["guidance_scale"]),
    }
    if "height" in inspect.signature(pipe.__call__).parameters:
        options |= {"width": image.width, "height": image.height}
    klein = type(pipe).__name__.startswith("Flux2Klein")
    if klein:
        options["mask_image"] = Image.new("L", image.size, 255)
    # FLUX's branches of guidance go through the denoiser one after the other.
    apart = options.get("guidance_scale" if klein else "true_cfg_scale", 1) > 1
    denoiser = pipe.transformer if getattr(pipe, "unet", None) is None else pipe.unet
    spent: dict[str, list[float]] = {}
    _watch(pipe, "encode_prompt", "text", spent)
    _watch(pipe.vae, "encode", "encode", spent)
    _watch(denoiser, "forward", STEP, spent)
    _watch(pipe.vae, "decode", "decode", spent)

    def paint() -> list[Any]:
        spent.clear()
        generators = [torch.Generator().manual_seed(job["seed"] + i) for i in range(job["images"])]
        one = generators if len(generators) > 1 else generators[0]
        return list(pipe(**options, generator=one).images)

    def over(frames: Iterable[Any]) -> Iterator[Any]:
        for frame in frames:
            options["image"] = frame
            yield paint()[0]

    def stages() -> dict[str, list[float]]:
        # A GPU works on after a call has returned: only the whole run waits for it.
        return dict(spent) if job["torch_device"] == "cpu" else {}

    def did() -> dict[str, Any]:
        return {
            "denoiser_calls": len(spent[STEP]) // (2 if apart else 1),
            "guidance": apart or bool(getattr(pipe, "do_classifier_free_guidance", False)),
            "precision": _bare(precision),
        }

    return Contender(paint, over, stages, did, versions)


def _of_family(pipe: Any, scale: float) -> dict[str, Any]:
    """What diffusers calls our `guidance_scale`, of which 1 is none whatever the family, and the
    prompt's length where it has another default."""
    if type(pipe).__name__.startswith("ZImage"):
        return {"guidance_scale": scale - 1}
    if type(pipe).__name__.startswith("Flux2Klein"):
        pipe.register_to_config(is_distilled=False)  # else it is guided by no scale
        layers = pipe.text_encoder.config.num_hidden_layers
        states = tuple(layers * quarter // 4 for quarter in (1, 2, 3))
        return {"guidance_scale": scale, "text_encoder_out_layers": states}
    config = pipe.transformer.config if getattr(pipe, "transformer", None) is not None else {}
    if config.get("guidance_embeds") is False:  # FLUX.1 schnell, which is not told it
        guided = {"true_cfg_scale": scale, "negative_prompt": ""} if scale > 1 else {}
        return {"max_sequence_length": 256, **guided}
    return {"guidance_scale": scale}


def _watch(owner: Any, method: str, stage: str, spent: dict[str, list[float]]) -> None:
    """Note the seconds of each call of `owner.method` under `stage`."""
    call = getattr(owner, method)

    def timed(*arguments: Any, **named: Any) -> Any:
        started = time.perf_counter()
        try:
            return call(*arguments, **named)
        finally:
            spent.setdefault(stage, []).append(time.perf_counter() - started)

    setattr(owner, method, timed)


if __name__ == "__main__":
    serve(
        {
            "diffusers": lambda: load_diffusers(compiled=False),
            "compile": lambda: load_diffusers(compiled=True),
            "optimum": load_optimum,
            "streamdiffusion": load_streamdiffusion,
        }[sys.argv[1]]
    )

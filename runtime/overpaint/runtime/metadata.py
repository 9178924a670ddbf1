"""The parameters of a picture, carried inside its file.

A PNG gets two text chunks: `overpaint`, a JSON object that holds everything, and `parameters`, the
line that AUTOMATIC1111's web UI writes and the field's tools show. JPEG and WEBP carry the latter
as EXIF UserComment, where prompts of many thousand words are cut. `read_parameters` gives the JSON
object back.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from msgspec import to_builtins
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from overpaint.bundle.errors import ImageError
from overpaint.bundle.format.manifest import Embedding, Lora

from .choices import LATENTS
from .fidelity import EXACT
from .resolved import HIRES_STRENGTH, Resolved
from .settings import Settings

CHUNK: Final = "overpaint"
INFOTEXT: Final = "parameters"
_FORMATS: Final = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
_EXIF_IFD: Final = 0x8769
_USER_COMMENT: Final = 0x9286
_MOST_COMMENT: Final = 16_000  # characters: four bytes each at most, of 65,533 that EXIF may have
FUSED: Final = ".safetensors"
"""How the name of a LoRA ends that is fused: it is its file's."""
_CUT: Final = " […]"
_NOT_A_PICTURES: Final = ("n", "seeds", "reference_strength")
"""Options of a run that one picture says nothing of: strength says what the second of them said."""

A1111_SAMPLERS: Final = {
    "euler": "Euler",
    "euler-a": "Euler a",
    "heun": "Heun",
    "ddim": "DDIM",
    "ddpm": "DDPM",
    "pndm": "PLMS",
    "dpmpp-2m": "DPM++ 2M",
    "dpmpp-2m-sde": "DPM++ 2M SDE",
    "dpmpp-sde": "DPM++ SDE",
    "unipc": "UniPC",
    "lcm": "LCM",
    "tcd": "TCD",
}
A1111_LATENT: Final = "Latent"
"""What enlarges latents there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """Everything that, with the input picture, makes an image again. `size` is (width, height).

    control: what each control network was shown, and how much it counted.
    image_sha256, mask_sha256: the input picture's and its mask's, as `Picture.sha256` has it; None
    where there was none.
    embeddings: the textual inversions whose words the prompts may hold.
    upscaler, upscaler_sha256: the file whose network enlarged the picture, None where Lanczos did
    or nothing.
    ip_adapter, ip_adapter_sha256: what reference pictures were seen through, None without any;
    ip_adapter_image_sha256, ip_adapter_mask_sha256: theirs and their masks', as they were read.
    reference_image_sha256: of the pictures that the denoiser itself looked at.
    sampler_run: what "default" was. guidance: "classifier-free", "embedded" (the denoiser takes the
    scale itself) or "none". loras: those that are fused into the weights, by their files' names,
    and those that were turned, by names of their own. precision: what the denoiser computed in.
    device: what ran it, with its version. passed_over: the better devices
    that could not be taken.
    """

    prompt: str
    resolved: Resolved
    seed: int
    image_sha256: str | None
    mask_sha256: str | None
    control: tuple[dict[str, Any], ...] = ()
    steps_run: int
    sampler_run: str
    guidance: str
    size: tuple[int, int]
    model: str
    model_sha256: str
    loras: tuple[Lora, ...]
    refiner: str | None
    refiner_sha256: str | None
    hand_over: float | None
    precision: str
    device: str
    passed_over: tuple[str, ...] = ()
    variation_seed: int | None = None
    embeddings: tuple[Embedding, ...] = ()
    upscaler: str | None = None
    upscaler_sha256: str | None = None
    ip_adapter: str | None = None
    ip_adapter_sha256: str | None = None
    ip_adapter_image_sha256: tuple[str, ...] = ()
    ip_adapter_mask_sha256: tuple[str, ...] = ()
    reference_image_sha256: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """By name: every option as it was run, and all that is said here."""
        run = self.resolved.options()
        for name in _NOT_A_PICTURES:
            del run[name]
        if self.resolved.strength is None:
            run["resize"] = None
        if self.refiner is not None:
            run["denoising_end"] = None  # hand_over says where
        own = {name: getattr(self, name) for name in self.__slots__ if name != "resolved"}
        own["embeddings"] = [to_builtins(one) for one in self.embeddings]
        own["loras"] = [to_builtins(lora) for lora in self.loras]
        return run | own

    def as_json(self) -> str:
        return json.dumps({"version": _version(), **self.as_dict()}, ensure_ascii=False)

    def as_record(self) -> dict[str, Any]:
        """What `read_parameters` gives back of a picture that carries them."""
        return dict(json.loads(self.as_json()))

    def infotext(self) -> str:
        """AUTOMATIC1111's three lines: prompt, negative prompt, the rest."""
        run, settings = self.resolved, self.resolved.settings
        strength = run.strength if run.denoising_start is None else None  # it had no say
        fields: dict[str, Any] = {
            "Steps": run.steps,
            "Sampler": A1111_SAMPLERS.get(self.sampler_run, self.sampler_run),
            "Schedule type": None if run.sigmas == "default" else run.sigmas.capitalize(),
            "CFG scale": f"{run.guidance_scale:g}",
            "Seed": self.seed,
            "Variation seed": self.variation_seed,
            "Variation seed strength": f"{settings.variation_strength:g}"
            if settings.variation_strength
            else None,
            "Size": f"{self.size[0]}x{self.size[1]}",
            "Model": _quoted(self.model),
            "Denoising strength": None if strength is None else f"{strength:g}",
            "Fidelity": None if settings.fidelity == EXACT else settings.fidelity,
            "Clip skip": settings.clip_skip + 1 if settings.clip_skip else None,
            **_hires(settings, self.upscaler, text=run.strength is None),
            "Eta": f"{settings.eta:g}" if settings.eta else None,
            **_controls(self.control),
            "Refiner": None if self.refiner is None else _quoted(self.refiner),
            "Refiner switch at": None if self.hand_over is None else f"{self.hand_over:g}",
            "Version": f"overpaint {_version()}",
        }
        last = ", ".join(f"{name}: {value}" for name, value in fields.items() if value is not None)
        negative = settings.negative_prompt
        return "\n".join(
            [
                self._prompt_with_tags(),
                *([f"Negative prompt: {negative}"] if negative else []),
                last,
            ]
        )

    def _prompt_with_tags(self) -> str:
        """The prompt, and `<lora:ink:0.7>` for each LoRA that was turned and that it does not name,
        as whoever reads these lines expects it."""
        turned = (lora for lora in self.loras if not lora.name.endswith(FUSED))
        tags = (f" <lora:{one.name}:{one.weight:g}>" for one in turned)
        return self.prompt + "".join(
            tag for tag in tags if tag.rpartition(":")[0].strip() not in self.prompt
        )


def _version() -> str:
    from importlib.metadata import version  # 20 ms of a start; first needed to save a picture

    return version("overpaint")


def _quoted(name: str) -> str:
    return json.dumps(name) if set(name) & set(",:\n") else name


class Painting(Image.Image):
    """A PIL image that writes its `parameters` into the file it is saved to."""

    parameters: Parameters

    @classmethod
    def of(cls, image: Image.Image, parameters: Parameters) -> Painting:
        """`image` itself, with its parameters; nothing is copied."""
        image.__class__ = cls
        assert isinstance(image, cls)
        image.parameters = parameters
        return image

    def copy(self) -> Painting:
        """As PIL's, parameters and all."""
        return Painting.of(super().copy(), self.parameters)

    __copy__ = copy

    def __getstate__(self) -> list[Any]:
        return [super().__getstate__(), self.parameters]

    def __setstate__(self, state: list[Any]) -> None:
        super().__setstate__(state[0])
        self.parameters = state[1]

    def save(self, fp: Any, format: str | None = None, **params: Any) -> None:
        """As PIL's, and PNG, JPEG and WEBP files carry the parameters."""
        suffix = Path(getattr(fp, "name", "") if hasattr(fp, "write") else fp).suffix
        kind = (format or _FORMATS.get(suffix.lower(), "")).upper()
        if kind == "PNG":
            params.setdefault("pnginfo", self._text_chunks())
        elif kind in ("JPEG", "WEBP"):
            params.setdefault("exif", self._user_comment())
        super().save(fp, format, **params)

    def _text_chunks(self) -> PngImagePlugin.PngInfo:
        info = PngImagePlugin.PngInfo()
        info.add_itxt(INFOTEXT, self.parameters.infotext())
        info.add_itxt(CHUNK, self.parameters.as_json())
        return info

    def _user_comment(self) -> Image.Exif:
        exif = Image.Exif()
        text = _cut(self.parameters.infotext()).encode("utf-16-be", "replace")
        exif.get_ifd(_EXIF_IFD)[_USER_COMMENT] = b"UNICODE\0" + text
        return exif


def _hires(settings: Settings, upscaler: str | None, *, text: bool) -> dict[str, Any]:
    """What the web UI says of a second pass."""
    if settings.upscale is None or not text:
        return {}
    strength = HIRES_STRENGTH if settings.upscale_strength is None else settings.upscale_strength
    return {
        "Denoising strength": f"{strength:g}",
        "Hires upscale": f"{settings.upscale:g}",
        "Hires steps": settings.upscale_steps,
        "Hires upscaler": _quoted(_upscaler(settings, upscaler)),
    }


def _upscaler(settings: Settings, upscaler: str | None) -> str:
    return A1111_LATENT if settings.resize == LATENTS else upscaler or "Lanczos"


def _controls(control: tuple[dict[str, Any], ...]) -> dict[str, str]:
    """A field for each control network, as the web UI's extension writes them."""
    return {
        f"ControlNet {at}": _quoted(
            f"Module: {one['preprocessor']}, Model: {one['name']}, Weight: {one['scale']:g}, "
            f"Guidance Start: {one['start']:g}, Guidance End: {one['end']:g}"
        )
        for at, one in enumerate(control)
    }


def _cut(infotext: str) -> str:
    """What a JPEG's EXIF has room for: of prompts that are too long, their beginning and […]."""
    prompts, _, last = infotext.rpartition("\n")
    room = _MOST_COMMENT - len(last) - len(_CUT) - 1
    return infotext if len(infotext) <= _MOST_COMMENT else f"{prompts[:room]}{_CUT}\n{last}"


def read_parameters(path: str | Path | BinaryIO) -> dict[str, Any]:
    """The parameters that overpaint wrote into the PNG at `path`, or in a binary file."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            text = image.info.get(CHUNK)
    except UnidentifiedImageError:
        text = None
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        parameters = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        parameters = None
    if not isinstance(parameters, dict):
        raise ImageError(f"{path}: carries no parameters of overpaint's; its PNGs do")
    return parameters

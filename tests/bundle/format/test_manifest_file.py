"""`overpaint.json`: what is read is whole and means something, or one line says what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.bundle.micro_manifest import SHA, good

from overpaint.bundle.errors import ManifestError
from overpaint.bundle.format.manifest import Manifest
from overpaint.bundle.format.manifest_file import decode, encode, read_manifest, write_manifest
from overpaint.bundle.installed import upgrade_command


def verdict(data: bytes) -> str:
    """What is wrong with `data`, "" where nothing is; anything but a ManifestError escapes."""
    try:
        decode(data)
    except ManifestError as error:
        return str(error)
    return ""


def changed(path: str, value: Any) -> dict[str, Any]:
    """`good()` with the entry at `a/b/c` replaced; `...` removes it."""
    manifest = good()
    *parents, last = path.split("|")
    here: Any = manifest
    for key in parents:
        here = here[int(key) if isinstance(here, list) else key]
    if value is ...:
        del here[last]
    else:
        here[int(last) if isinstance(here, list) else last] = value
    return manifest


def refusal(manifest: Any) -> str:
    data = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
    with pytest.raises(ManifestError) as caught:
        decode(data, where="b/overpaint.json")
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("b/overpaint.json: ")
    return message


def test_a_good_manifest_comes_back_as_it_was_written(tmp_path: Path) -> None:
    manifest = decode(json.dumps(good()).encode())
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest
    assert [path.name for path in tmp_path.iterdir()] == ["overpaint.json"]
    assert json.loads(encode(manifest))["family"] == "sd1"


@pytest.mark.parametrize(("channels", "inpaints"), [(4, False), (9, True)])
def test_a_denoisers_channels_say_whether_it_inpaints(channels: int, inpaints: bool) -> None:
    manifest = decode(json.dumps(changed("components|unet|inputs|0|shape|1", channels)).encode())
    assert manifest.inpaints is inpaints


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "expected JSON"),
        (b"{", "expected JSON"),
        (json.dumps(good()).encode()[:700], "expected JSON"),
        (b"\x89PNG\r\n\x1a\n", "expected JSON"),
        (b"[" * 100_000, "expected JSON"),
        (b'{"format": NaN}', "expected JSON"),
        (b'{"format": "\\ud800"}', "expected JSON"),
        (b"[]", "expected a JSON object"),
        (b"{}", "not an overpaint manifest"),
        (b'{"format": "overpaint-bundle", "format": "overpaint-bundle"}', "'format' stands twice"),
        (b'{"format": "overpaint-bundle", "version": ' + b"9" * 6000 + b"}", ""),
        (b'{"format": "overpaint-bundle", "version": 1e400}', ""),
    ],
)
def test_bytes_that_are_no_manifest_say_so(data: bytes, says: str) -> None:
    assert says in refusal(data)


def test_a_future_version_says_what_is_read_and_to_upgrade() -> None:
    message = refusal(changed("version", 7))
    assert "format version 7" in message
    assert "reads version 1" in message
    assert message.endswith(f"Upgrade it with: {upgrade_command()}")


def test_a_future_version_is_named_before_its_new_fields_are() -> None:
    assert "format version 2" in refusal(changed("version", 2) | {"novelty": True})


@pytest.mark.parametrize("version", [..., 0, -1, True, "1", 1.0, None])
def test_a_version_that_is_none_is_refused(version: Any) -> None:
    assert "version: expected 1, got" in refusal(changed("version", version))


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("famly", "sd1", "famly: unknown field; did you mean 'family'?"),
        ("latents|zebra", 1, "latents.zebra: unknown field; known here: channels, downscale"),
        ("family", 9, "family: expected a string, got 9"),
        ("family", ..., "family: missing; expected a string"),
        ("denoiser", "mmdit", "denoiser: expected one of 'unet', 'transformer', got"),
        ("components|unet|ranges|batch|minimum", "1", "components.unet.ranges.batch.minimum: exp"),
        ("components|unet|inputs|1|shape", 3, "inputs[1].shape: expected an array, got 3"),
        ("components|unet|inputs|0|shape", [1.5], "inputs[0].shape[0]: expected a whole number or"),
        ("components|unet|parity|limit", None, "unet.parity.limit: expected a finite number, got"),
        ("latents", [], "latents: expected an object, got []"),
        ("files|unet/model.onnx|size", 1.5, "files.unet/model.onnx.size: expected a whole number"),
        ("files|unet/model.onnx|size", True, "files.unet/model.onnx.size: expected a whole number"),
        ("bad\nkey", 1, "bad\\nkey: unknown field"),
    ],
)
def test_a_broken_field_is_named_by_its_path(path: str, value: Any, says: str) -> None:
    assert says in refusal(changed(path, value))


FILE = {"size": 1, "sha256": SHA}


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (
            "family",
            "sd9",
            "family: expected 'flux1', 'flux2-klein', 'sd1', 'sd2', 'sd3', 'sdxl', 'sdxl-refiner' "
            "or 'z-image', got 'sd9'",
        ),
        ("denoiser", "transformer", "denoiser: expected 'unet' for sd1"),
        ("prediction", "flow", "prediction: expected 'epsilon', 'v_prediction' or 'sample'"),
        ("components|vae_encoder", ..., "components.vae_encoder: missing"),
        ("components|unet_2", {**good()["components"]["unet"]}, "unet_2: unknown component"),
        ("components|unet|graph", "x/model.onnx", "'x/model.onnx' is not listed in files"),
        ("components|unet|inputs", [], "at least one input"),
        ("components|unet|inputs|1|name", "time", "expected 'timestep', got sample, time, enc"),
        (
            "components|unet|inputs|0|shape|1",
            5,
            "'sample': expected (batch, 4 or 9, height, width), got (batch, 5",
        ),
        (
            "components|unet|outputs|0|shape|1",
            9,
            "'out_sample': expected (batch, 4, height, width), got (batch, 9",
        ),
        ("latents|channels", 16, "expected (batch, 16 or 33, height, width), got (batch, 4"),
        ("text|encoders|0|kind", "t5", "text.encoders[0].kind: expected 'clip' for sd1, got 't5'"),
        ("text|encoders|0|pooled", "last_hidden_state", "pooled: expected null for sd1, got 'last"),
        ("family", "sdxl", "components.text_encoder_2: missing; sdxl needs it"),
        ("family", "sdxl-refiner", "components.text_encoder_2: missing; sdxl-refiner needs it"),
        ("components|unet|inputs|1|name", "sample", "the tensor 'sample' stands twice"),
        ("components|unet|ranges|batch", ..., "components.unet.ranges.batch: missing; 'sample'"),
        ("components|unet|inputs|0|shape|1", 0, "'sample' has the impossible dimension 0"),
        ("components|unet|inputs|0|shape|1", 10**30, "impossible dimension"),
        ("components|unet|ranges|batch", {"minimum": 2, "maximum": 1}, "minimum <= maximum"),
        (
            "components|unet|ranges|batch",
            {"minimum": 1, "maximum": 8, "multiple": 8},
            "multiples of 8",
        ),
        ("components|unet|parity|max_abs_error", 1.0, "over its limit 0.0002"),
        ("components|unet|parity|max_abs_error", -1.0, "no negative number"),
        ("latents|multiple", 12, "latents.multiple: expected a multiple of downscale, got 12"),
        ("latents|scaling", 0, "latents.scaling: expected a positive number"),
        ("latents|mean", [0.0], "both of mean and std"),
        ("preview", [[1, 2, 3]], "preview: expected 4 rows of 3 numbers"),
        ("text|encoders", [], "text.encoders: expected at least one"),
        ("text|encoders|0|component", "clip", "'clip' is not listed in components"),
        ("text|encoders|0|hidden", "h", "text_encoder has no output 'h'"),
        ("text|encoders|0|pooled", "p", "text_encoder has no output 'p'"),
        ("text|encoders|0|tokenizer", "t", "'t/tokenizer.json' is not listed in files"),
        ("text|encoders|0|length", 0, "text.encoders[0].length: expected a positive number"),
        ("defaults|steps", 0, "defaults.steps: expected 1 to 1000"),
        ("defaults|strength", 1.1, "defaults.strength: expected 0 to 1"),
        ("source|sha256", "abc", "source.sha256: expected 64"),
        ("files|unet/model.onnx|sha256", "F" * 64, "expected 64 lower-case hexadecimal digits"),
        ("files|unet/model.onnx|size", -1, "files.unet/model.onnx.size: expected 0 to"),
        ("files|unet/model.onnx|size", 2**63, "files.unet/model.onnx.size: expected 0 to"),
        (
            "files|unet/model.onnx",
            {**FILE, "weights": True},
            "weights: expected false; this file is checked",
        ),
        ("files|/etc/passwd", FILE, "'/etc/passwd' is absolute"),
        ("files|unet/../../x", FILE, "'unet/../../x' leaves the folder"),
        ("files|unet//x", FILE, "empty or '.' segment"),
        ("files|unet\\x", FILE, "not portable"),
        ("files|C:/x", FILE, "not portable"),
        ("files|unet/weights.pt", FILE, "named like a pickle"),
        ("files|", FILE, "expected a file name"),
        ("files|UNET/model.onnx", FILE, "one file where case does not count"),
        ("files|overpaint.json", FILE, "is the manifest"),
        ("files|model_index.json", ..., "'model_index.json' is not listed"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(path: str, value: Any, says: str) -> None:
    assert says in refusal(changed(path, value))


def test_a_manifest_that_contradicts_itself_is_not_written(tmp_path: Path) -> None:
    wrong = msgspec.convert(changed("denoiser", "transformer"), Manifest)
    with pytest.raises(ManifestError, match="denoiser"):
        write_manifest(tmp_path, wrong)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_manifest_says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="missing; a bundle made by overpaint export"):
        read_manifest(tmp_path)


def test_a_manifest_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere.json").write_bytes(json.dumps(good()).encode())
    (tmp_path / "overpaint.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(ManifestError, match="symbolic link"):
        read_manifest(tmp_path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


def paths_in(value: Any, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    found = [prefix] if prefix else []
    for key, entry in items:
        here = (*prefix, str(key))
        found += paths_in(entry, here) if isinstance(entry, (dict, list)) else [here]
    return found


@settings(max_examples=300, deadline=None)
@given(path=st.sampled_from(paths_in(good())), value=JSON)
def test_any_value_in_any_field_is_a_manifest_or_a_manifest_error(
    path: tuple[str, ...], value: Any
) -> None:
    data = json.dumps(changed("|".join(path), value)).encode()
    assert "\n" not in verdict(data)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=64), st.integers(0, 3000), st.integers(0, 40))
def test_any_bytes_spliced_into_a_manifest_are_a_manifest_or_a_manifest_error(
    splice: bytes, at: int, drop: int
) -> None:
    data = json.dumps(good()).encode()
    assert "\n" not in verdict(data[:at] + splice + data[at + drop :])


def test_an_encoder_that_its_family_has_not_is_named() -> None:
    value = good()
    value["components"]["text_encoder_2"] = value["components"]["text_encoder"]
    assert "components.text_encoder_2: sd1 has none; expected 'text_encoder', 'unet'" in refusal(
        value
    )

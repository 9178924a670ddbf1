"""Every bundle that is not what it says ends in one clear line; a whole one opens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.bundle.micro import make_micro, manifest, write_files

from overpaint.bundle.errors import BundleError, IntegrityError, OutputExistsError, UsageError
from overpaint.bundle.format.manifest_file import read_manifest, write_manifest
from overpaint.bundle.format.open import open_bundle
from overpaint.bundle.format.write import finish_bundle, new_bundle

WEIGHTS = "unet/weights.safetensors"


@pytest.fixture
def bundle(tmp_path: Path, cache: Path) -> Path:
    return make_micro(tmp_path / "micro")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def refusal(path: Path, verify: str = "open") -> str:
    with pytest.raises(BundleError) as caught:
        open_bundle(path, verify=verify)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def flip(path: Path, at: int = -1) -> None:
    """Change one bit of a file, and nothing else: not its size, nor its modification time."""
    status, data = path.stat(), bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_whole_bundle_opens_and_knows_its_parts(bundle: Path) -> None:
    opened = open_bundle(bundle, verify="full")
    assert opened.manifest.name == "micro"
    assert opened.inferred == ()
    assert opened.path("unet/model.onnx") == bundle / "unet/model.onnx"
    assert opened.component("unet").graph == "unet/model.onnx"
    with pytest.raises(BundleError, match="has no component 'transformer'; it has text_encoder"):
        opened.component("transformer")
    with pytest.raises(BundleError, match=r"has no 'x\.plan'"):
        opened.path("x.plan")


def test_what_graphs_point_into_is_marked_as_weights(bundle: Path) -> None:
    files = read_manifest(bundle).files
    assert {path for path, file in files.items() if file.weights} == {
        "text_encoder/weights.safetensors",
        WEIGHTS,
        "vae_encoder/vae.safetensors",
        "vae_decoder/vae.safetensors",
    }


@pytest.mark.parametrize(
    "path", ["unet/model.onnx", "tokenizer/tokenizer.json", "model_index.json", WEIGHTS]
)
def test_a_flipped_byte_is_named_with_its_file(bundle: Path, path: str) -> None:
    flip(bundle / path)
    message = refusal(bundle, verify="full")
    assert f"{bundle / path}: changed: expected SHA-256" in message
    assert "overpaint export or import" in message


@pytest.mark.parametrize("path", ["unet/model.onnx", "tokenizer/tokenizer.json"])
def test_small_files_are_hashed_at_every_open(bundle: Path, path: str) -> None:
    open_bundle(bundle)
    flip(bundle / path)
    assert "changed" in refusal(bundle)


def test_weights_are_hashed_at_their_first_open_and_remembered(bundle: Path, cache: Path) -> None:
    hashed: list[tuple[int, int]] = []
    small = sum(file.size for file in read_manifest(bundle).files.values() if not file.weights)
    for entry in (cache / "overpaint" / "verified").iterdir():
        entry.unlink()
    open_bundle(bundle, progress=lambda done, total: hashed.append((done, total)))
    assert hashed[-1][0] == hashed[-1][1] > small
    hashed.clear()
    open_bundle(bundle, progress=lambda done, total: hashed.append((done, total)))
    assert hashed[-1] == (small, small)


def test_remembered_weights_are_hashed_again_when_time_or_size_changed(bundle: Path) -> None:
    open_bundle(bundle)
    flip(bundle / WEIGHTS)
    open_bundle(bundle)  # size, time and inode are the same: this is what "full" is for
    assert "changed" in refusal(bundle, verify="full")
    os.utime(bundle / WEIGHTS)
    assert "changed" in refusal(bundle)


def test_a_new_bundle_is_remembered_because_it_was_just_hashed(bundle: Path, cache: Path) -> None:
    assert len(list((cache / "overpaint" / "verified").iterdir())) == 4


@pytest.mark.parametrize("home", ["", "/proc/no/such/place", "relative"])
def test_without_a_cache_folder_weights_are_hashed_each_time(
    bundle: Path, home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", home)
    sizes: list[int] = []
    for _ in range(2):
        open_bundle(bundle, progress=lambda done, total: sizes.append(total))
    assert min(sizes) > (bundle / WEIGHTS).stat().st_size
    flip(bundle / WEIGHTS)
    assert "changed" in refusal(bundle)


@pytest.mark.parametrize("path", ["unet/model.onnx", WEIGHTS, "scheduler/scheduler_config.json"])
def test_a_missing_file_is_named(bundle: Path, path: str) -> None:
    (bundle / path).unlink()
    assert f"{bundle / path}: missing" in refusal(bundle)


def test_a_truncated_file_says_both_sizes(bundle: Path) -> None:
    path = bundle / WEIGHTS
    size = path.stat().st_size
    os.truncate(path, size - 5)
    assert f"expected {size} bytes, got {size - 5}" in refusal(bundle)


def test_a_truncated_manifest_is_named(bundle: Path) -> None:
    os.truncate(bundle / "overpaint.json", 900)
    assert "overpaint.json: expected JSON, got 900 bytes" in refusal(bundle)


@pytest.mark.parametrize("path", ["unet/model.onnx", WEIGHTS, "unet"])
def test_a_link_inside_a_bundle_is_refused(bundle: Path, tmp_path: Path, path: str) -> None:
    (bundle / path).rename(tmp_path / "elsewhere")
    (bundle / path).symlink_to(tmp_path / "elsewhere")
    message = refusal(bundle)
    assert f"{bundle / path}: is a symbolic link" in message
    assert "cp -RL" in message


def test_a_bundle_reached_through_a_link_opens(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(bundle)
    assert open_bundle(tmp_path / "link").manifest.name == "micro"


def test_a_pipe_in_a_files_place_is_refused(bundle: Path) -> None:
    (bundle / WEIGHTS).unlink()
    os.mkfifo(bundle / WEIGHTS)
    assert "expected a regular file" in refusal(bundle)


def point(bundle: Path, location: str, **entries: str) -> None:
    """Let the UNet's first weight point at `location`, in a manifest that vouches for the graph."""
    import onnx

    path = bundle / "unet/model.onnx"
    model = onnx.load(path, load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        entry.value = (entries | {"location": location}).get(entry.key, entry.value)
    path.write_bytes(model.SerializeToString())
    vouch(bundle)


def vouch(bundle: Path) -> None:
    """Hash the files that the manifest lists anew."""
    import msgspec

    from overpaint.bundle.files.hashing import sha256_file
    from overpaint.bundle.format.manifest import File

    old = read_manifest(bundle)
    files = {
        path: File(
            size=(bundle / path).stat().st_size,
            sha256=sha256_file(bundle / path),
            weights=file.weights,
        )
        for path, file in old.files.items()
    }
    write_manifest(bundle, msgspec.structs.replace(old, files=files))


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("../vae_encoder/vae.safetensors", "leaves the folder"),
        ("/etc/passwd", "empty or '.' segment"),
        ("../../../../etc/passwd", "leaves the folder"),
        ("x/../weights.safetensors", "leaves the folder"),
        ("*/_ORT_MEM_ADDR_/*", "not portable"),
        ("C:\\weights", "not portable"),
        ("other.safetensors", "is not a file of this bundle's manifest"),
        ("weights.pt", "named like a pickle"),
        ("", "empty or '.' segment"),
    ],
)
def test_a_graph_that_points_elsewhere_is_refused(bundle: Path, location: str, says: str) -> None:
    for name in ("other.safetensors", "weights.pt"):
        (bundle / "unet" / name).write_bytes(bytes(10_000))
    point(bundle, location)
    message = refusal(bundle)
    assert says in message
    assert "unet/model.onnx: the weight 'mix'" in message


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({"offset": "100000"}, "expected bytes 100000 to 100064 of 'weights.safetensors'"),
        ({"length": "9" * 18}, "graph and weights do not belong together"),
        ({"offset": "-1"}, "external data offset '-1', not a number"),
        ({"offset": "9" * 40}, "not a number"),
        ({"length": "0x10"}, "not a number"),
    ],
)
def test_a_graph_that_points_past_the_end_is_refused(
    bundle: Path, entries: dict[str, str], says: str
) -> None:
    point(bundle, "weights.safetensors", **entries)
    assert says in refusal(bundle)


def test_a_graph_that_is_none_is_refused(bundle: Path) -> None:
    for data in (b"", b"\x89PNG\r\n", b"<html>"):
        (bundle / "unet/model.onnx").write_bytes(data)
        vouch(bundle)
        assert "unet/model.onnx: expected an ONNX graph" in refusal(bundle)


def test_what_is_no_bundle_says_what_makes_one(tmp_path: Path) -> None:
    assert "found nothing there" in refusal(tmp_path / "absent")
    assert "overpaint export" in refusal(tmp_path)
    (tmp_path / "file").write_text("x")
    assert "found a file there" in refusal(tmp_path / "file")


def test_an_unknown_level_is_refused(bundle: Path) -> None:
    with pytest.raises(UsageError, match="expected 'open' or 'full', got 'quick'"):
        open_bundle(bundle, verify="quick")  # type: ignore[arg-type]


def test_a_block_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail(error: BaseException) -> None:
        with new_bundle(tmp_path / "b") as folder:
            write_files(folder)
            raise error

    for error in (ValueError("x"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            fail(error)
        assert list(tmp_path.iterdir()) == []


def test_a_bundle_that_was_not_finished_is_not_put_in_place(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="missing"), new_bundle(tmp_path / "b") as folder:
        write_files(folder)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_a_link_or_a_pickle_cannot_be_finished(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    spoil: dict[str, Callable[[Path], object]] = {
        "symbolic link": lambda folder: (folder / "more").symlink_to(tmp_path / "outside"),
        "pickle": lambda folder: (folder / "unet/weights.pt").write_bytes(b"\x80\x04."),
    }

    def make(act: Callable[[Path], object]) -> None:
        with new_bundle(tmp_path / "b") as folder:
            write_files(folder)
            act(folder)
            finish_bundle(folder, manifest())

    for says, act in spoil.items():
        with pytest.raises(IntegrityError, match=says):
            make(act)
    assert [path.name for path in tmp_path.iterdir()] == ["outside"]


def test_an_output_that_exists_is_refused_unless_forced(bundle: Path) -> None:
    before = (bundle / "overpaint.json").read_bytes()
    with pytest.raises(OutputExistsError, match="exists already; say --force"):
        make_micro(bundle)
    assert (bundle / "overpaint.json").read_bytes() == before
    with new_bundle(bundle, force=True) as folder:
        write_files(folder)
        (folder / "README.md").write_text("new")
        finish_bundle(folder, manifest())
    assert "README.md" in open_bundle(bundle).manifest.files
    assert sorted(path.name for path in bundle.parent.iterdir()) == ["cache", "micro"]


def test_force_replaces_bundles_only(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.txt").write_text("years")
    (tmp_path / "link").symlink_to(tmp_path / "thesis")
    for name in ("thesis", "thesis/chapter.txt", "link"):
        with (
            pytest.raises(OutputExistsError, match="is not a bundle"),
            new_bundle(tmp_path / name, force=True),
        ):
            pass
    assert (tmp_path / "thesis/chapter.txt").read_text() == "years"


def test_a_failed_replacement_keeps_the_former_bundle(bundle: Path) -> None:
    with pytest.raises(BundleError, match="missing"), new_bundle(bundle, force=True):
        pass  # nothing is written, so there is nothing to put in its place
    assert open_bundle(bundle).manifest.name == "micro"


def test_an_output_nobody_may_write_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(UsageError, match="cannot be written there"),
        new_bundle(tmp_path / "file" / "bundle"),
    ):
        pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.usefixtures("hearing_signals")
def test_a_process_told_to_end_leaves_no_half_bundle(tmp_path: Path, number: int) -> None:
    script = f"""
        import time
        from overpaint.bundle.format.write import new_bundle
        with new_bundle({str(tmp_path / "b")!r}) as folder:
            (folder / "half").write_text("x")
            print("ready", flush=True)
            time.sleep(60)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == b"ready\n"
        assert len(list(tmp_path.iterdir())) == 1
        process.send_signal(number)
        assert process.wait(10) != 0
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_is_kept_as_people_would_read_it(bundle: Path) -> None:
    text = (bundle / "overpaint.json").read_text()
    assert text.startswith('{\n  "format": "overpaint-bundle",\n  "version": 1,\n')
    assert json.loads(text)["files"]["unet/model.onnx"]["weights"] is False

"""A folder that optimum exported has no manifest; what is concluded from it is right, and said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from tests.bundle.micro import make_micro, write_files

from overpaint.bundle.errors import BundleError, CheckpointError, IntegrityError
from overpaint.bundle.facts import Configs
from overpaint.bundle.families import FAMILIES, facts_of
from overpaint.bundle.format.manifest_file import read_manifest
from overpaint.bundle.format.open import open_bundle
from overpaint.bundle.format.verify import verify_bundle
from overpaint.bundle.graph.signature import graph_tensors
from overpaint.bundle.tensor import Tensor
from overpaint.bundle.tokenizer.files import pad_token_id
from overpaint.engines.choose import open_session

VAE = {"latent_channels": 4, "block_out_channels": [8] * 4, "scaling_factor": 0.18215}
CLIP = {"max_position_embeddings": 77, "num_hidden_layers": 12, "model_type": "clip_text_model"}
VOCABULARY = {"!": 0, "a</w>": 1, "<|startoftext|>": 98, "<|endoftext|>": 99}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The micro bundle as optimum would have left it."""
    root = tmp_path / "exported"
    root.mkdir()
    write_files(root)
    (root / "tokenizer/tokenizer.json").unlink()
    write(root / "tokenizer/vocab.json", VOCABULARY)
    (root / "tokenizer/merges.txt").write_text("#version: 0.2\n")
    write(root / "tokenizer/special_tokens_map.json", {"pad_token": {"content": "<|endoftext|>"}})
    write(root / "scheduler/scheduler_config.json", {"prediction_type": "v_prediction"})
    write(root / "text_encoder/config.json", CLIP)
    write(root / "unet/config.json", {"in_channels": 4})
    for name in ("vae_encoder", "vae_decoder"):
        write(root / name / "config.json", VAE)
    return root


def write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value))


def test_an_optimum_folder_opens_and_every_conclusion_is_listed(folder: Path) -> None:
    bundle = open_bundle(folder)
    manifest = bundle.manifest
    assert (manifest.family, manifest.denoiser) == ("sd1", "unet")
    assert manifest.prediction == "v_prediction"
    assert (manifest.latents.channels, manifest.latents.downscale) == (4, 8)
    assert manifest.text.encoders[0].pad_token_id == 99
    notes = "\n".join(bundle.inferred)
    for said in (
        "nothing vouches for these files",
        "family sd1, from its components (text_encoder, unet)",
        "prediction v_prediction, from scheduler/scheduler_config.json",
        "tokenizer: built from vocab.json and merges.txt",
        "50 steps, guidance 7.5, strength 0.8",
    ):
        assert said in notes
    assert not (folder / "overpaint.json").exists()


def test_nothing_vouches_for_it_so_it_does_not_verify(folder: Path) -> None:
    report = verify_bundle(folder)
    assert not report.whole
    assert "nothing vouches for these files" in "".join(report.problems)
    assert any(note.startswith("family sd1") for note in report.notes)


def test_sides_are_such_that_every_level_of_the_unet_halves_them(folder: Path) -> None:
    """optimum traces the upsampling as a doubling: latents of odd sides fail inside its graph."""
    write(folder / "unet/config.json", {"in_channels": 4, "block_out_channels": [8] * 4})
    bundle = open_bundle(folder)
    assert bundle.manifest.latents.multiple == 64
    assert any(note.startswith("sides are multiples of 64") for note in bundle.inferred)


def test_its_engines_run(folder: Path) -> None:
    bundle = open_bundle(folder)
    with open_session(bundle, "vae_encoder") as session:
        out = session.run({"sample": np.zeros((1, 3, 64, 48), np.float32)})
        assert out["latent_parameters"].shape == (1, 8, 8, 6)


def test_tensors_come_from_the_graphs_as_the_manifest_would_have_them(
    folder: Path, tmp_path: Path
) -> None:
    declared = read_manifest(make_micro(tmp_path / "micro")).components
    for name, component in declared.items():
        assert graph_tensors(folder / name / "model.onnx") == (component.inputs, component.outputs)


def test_nameless_sizes_are_named_after_their_place(tmp_path: Path) -> None:
    kinds = {"a": TensorProto.FLOAT16, "b": TensorProto.INT32, "c": TensorProto.BOOL}
    inputs = [helper.make_tensor_value_info(n, k, [None, 2]) for n, k in kinds.items()]
    scalar = helper.make_tensor_value_info("t", TensorProto.INT64, [])
    graph = helper.make_graph([], "g", [*inputs, scalar], [])
    onnx.save(helper.make_model(graph), tmp_path / "m.onnx")
    assert graph_tensors(tmp_path / "m.onnx")[0] == (
        Tensor(name="a", dtype="float16", shape=("a.0", 2)),
        Tensor(name="b", dtype="int32", shape=("b.0", 2)),
        Tensor(name="c", dtype="bool", shape=("c.0", 2)),
        Tensor(name="t", dtype="int64", shape=()),
    )


def test_an_encoder_that_samples_inside_the_graph_is_recorded(folder: Path) -> None:
    path = folder / "vae_encoder/model.onnx"
    model = onnx.load(path, load_external_data=False)
    model.graph.output[0].name = model.graph.node[0].output[0] = "latent_sample"
    path.write_bytes(model.SerializeToString())
    assert (
        "vae_encoder gives latent_sample, not the posterior's" in open_bundle(folder).inferred[-1]
    )


def test_a_checkpoint_without_graphs_says_how_to_export_it(folder: Path) -> None:
    for path in folder.glob("*/model.onnx"):
        path.unlink()
    with pytest.raises(BundleError, match=r"a checkpoint, not a bundle.*overpaint export"):
        open_bundle(folder)


@pytest.mark.parametrize(
    ("path", "content", "says"),
    [
        ("unet/config.json", None, r"unet/config\.json: cannot be read"),
        ("unet/config.json", "{", r"unet/config\.json: expected JSON"),
        ("unet/config.json", "[]", "expected a JSON object"),
        ("unet/config.json", '{"in_channels": 8}', "got 8: an editing checkpoint, as InstructPix"),
        ("unet/config.json", '{"in_channels": 5}', "got 5: a checkpoint that is guided by depth"),
        ("unet/config.json", '{"in_channels": 7}', "the VAE's 4, or 9 of an inpainting .*, got 7$"),
        (
            "vae_decoder/config.json",
            "{}",
            "VAE's config: block_out_channels: missing; expected an array",
        ),
        (
            "vae_decoder/config.json",
            '{"block_out_channels": 4}',
            "block_out_channels: expected an array.*got 4",
        ),
        (
            "scheduler/scheduler_config.json",
            '{"prediction_type": "x"}',
            "prediction_type: expected",
        ),
        (
            "text_encoder/config.json",
            '{"max_position_embeddings": -1}',
            "max_position_embeddings: expected a whole number >= 1",
        ),
        ("tokenizer/merges.txt", None, r"expected tokenizer\.json, or vocab\.json and merges\.txt"),
        ("tokenizer/vocab.json", "{}", "expected its pad_token in the vocabulary"),
        ("vae_encoder/model.onnx", None, "components.vae_encoder: missing"),
    ],
)
def test_a_folder_that_does_not_say_enough_is_refused(
    folder: Path, path: str, content: str | None, says: str
) -> None:
    if content is None:
        (folder / path).unlink()
    else:
        (folder / path).write_text(content)
    with pytest.raises(BundleError, match=says) as caught:
        open_bundle(folder)
    assert "\n" not in str(caught.value)


def test_links_and_foreign_paths_are_refused_here_too(folder: Path, tmp_path: Path) -> None:
    path = folder / "unet/model.onnx"
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[0].external_data[0].value = "../vae_encoder/vae.safetensors"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(IntegrityError, match="leaves the folder"):
        open_bundle(folder)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(IntegrityError, match="symbolic link"):
        open_bundle(folder)


JSON = (
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3) | st.just([]) | st.just({})
)


@settings(max_examples=200, deadline=None)
@given(
    component=st.sampled_from(["vae", "unet", "text_encoder"]),
    key=st.sampled_from([*VAE, *CLIP, "in_channels", "latents_mean", "latents_std", "patch_size"]),
    value=JSON,
)
def test_any_config_gives_facts_or_a_checkpoint_error(component: str, key: str, value: Any) -> None:
    components: dict[str, dict[str, Any]] = {
        "vae": dict(VAE),
        "unet": {"in_channels": 4},
        "text_encoder": dict(CLIP),
    }
    components[component][key] = value
    configs = Configs(index={}, scheduler={}, components=components, pad_token_ids={"tokenizer": 0})
    try:
        facts = facts_of(configs)
    except CheckpointError:
        return
    assert facts.family in ("sd1", "sd2")


EXPECTED = {
    "sd1": ("unet", "epsilon", 8, [("last_hidden_state", None, 49407)]),
    "sd2": ("unet", "v_prediction", 8, [("last_hidden_state", None, 0)]),
    "sdxl": (
        "unet",
        "epsilon",
        8,
        [("hidden_states.2", None, 49407), ("hidden_states.2", "text_embeds", 0)],
    ),
    "sdxl-refiner": ("unet", "epsilon", 8, [("hidden_states.2", "text_embeds", 0)]),
    "sd3": (
        "transformer",
        "flow",
        16,
        [
            ("hidden_states.2", "text_embeds", 49407),
            ("hidden_states.2", "text_embeds", 0),
            ("last_hidden_state", None, 0),
        ],
    ),
}


@pytest.mark.parametrize("family", EXPECTED)
def test_real_configs_of_every_family_are_told_apart(
    family: Any, build_once: Callable[..., Path]
) -> None:
    from tests.checkpoints import tiny_checkpoint

    checkpoint = build_once(family, lambda folder: tiny_checkpoint(family, folder))
    folders = [path.parent for path in checkpoint.glob("*/config.json")]
    facts = facts_of(
        Configs(
            index=json.loads((checkpoint / "model_index.json").read_text()),
            scheduler=json.loads((checkpoint / "scheduler/scheduler_config.json").read_text()),
            components={f.name: json.loads((f / "config.json").read_text()) for f in folders},
            pad_token_ids={f.name: pad_token_id(f) for f in checkpoint.glob("tokenizer*")},
        )
    )
    encoders = [(e.hidden, e.pooled, e.pad_token_id) for e in facts.text.encoders]
    described = (facts.denoiser, facts.prediction, facts.latents.multiple, encoders)
    assert (facts.family, described) == (family, EXPECTED[family])
    components = {f.name: json.loads((f / "config.json").read_text()) for f in folders}
    assert [one.name for one in FAMILIES.values() if one.recognises(components)] == [family]
    assert facts.text.zeros_for_absent_negative == (family == "sdxl")
    assert facts.text.aesthetic_score == (family == "sdxl-refiner")


@pytest.mark.parametrize(
    ("name", "steps", "strength"), [("sd3.5-large-turbo", 4, 0.75), ("sd3-medium", 50, 0.6)]
)
def test_a_turbo_starts_late_enough_to_see_the_picture(
    name: str, steps: int, strength: float
) -> None:
    transformer = {
        "pooled_projection_dim": 8,
        "caption_projection_dim": 8,
        "patch_size": 2,
        "joint_attention_dim": 16,
    }
    components = {"transformer": transformer, "vae": VAE}
    configs = Configs(index={}, scheduler={}, components=components, pad_token_ids={})
    defaults = facts_of(configs, name).defaults
    assert (defaults.steps, defaults.strength) == (steps, strength)

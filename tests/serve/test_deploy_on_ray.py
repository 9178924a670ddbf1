"""`overpaint deploy`: a config that Ray's own schema takes, and replicas that come up from it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from ray.serve.context import _get_global_client
from ray.serve.schema import ServeDeploySchema
from tests.serve.running import serving

from overpaint.bundle.errors import UsageError
from overpaint.scale.cluster import connect
from overpaint.serve.config import Config
from overpaint.serve.jobs.cluster import ray_serve
from overpaint.serve.jobs.engines.bundles import Opening
from overpaint.serve.jobs.replicas.deploy import Engines, Scale, as_config, build

OVERPAINT = Path(sys.executable).with_name("overpaint")


def printed(*options: str) -> dict[str, Any]:
    """What the command writes."""
    command = [OVERPAINT, "deploy", "--print", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(yaml.safe_load(done.stdout))


def test_rays_own_schema_takes_what_is_printed(tiny_sd1_bundle: Path) -> None:
    options = ("--replicas", "2-16", "--replica-gpus", "1", "--warm-up", "64x64", "--drain", "9")
    config = printed(str(tiny_sd1_bundle), *options)
    taken = ServeDeploySchema.model_validate(config)
    (application,) = taken.applications
    (deployment,) = application.deployments
    assert application.import_path == "overpaint.serve.jobs.replicas.deploy:build"
    assert application.args["bundles"] == [str(tiny_sd1_bundle)]
    assert deployment.graceful_shutdown_timeout_s == 9
    assert deployment.ray_actor_options.num_gpus == 1
    scaling = deployment.autoscaling_config
    assert isinstance(scaling, dict)
    assert (scaling["min_replicas"], scaling["max_replicas"]) == (2, 16)


def test_what_is_printed_is_what_a_replica_opens(tiny_sd1_bundle: Path) -> None:
    engines = Engines(
        bundles=(str(tiny_sd1_bundle),),
        opening=Opening(sizes=((64, 64),), embeddings={"<a>": Path("a.safetensors")}),
        memory_budget=10**9,
    )
    args = as_config(engines, Scale())["applications"][0]["args"]
    assert Engines.of(yaml.safe_load(yaml.safe_dump(args))) == engines


def test_args_that_somebody_mistyped_are_named() -> None:
    with pytest.raises(UsageError, match=r"Expected `array`, got `str` - at `\$.bundles`"):
        build({"bundles": "bundles/sd15"})
    with pytest.raises(UsageError, match="unknown field `bundle`"):
        build({"bundle": []})


@pytest.mark.parametrize("options", [(), ("--print", "--ray", "auto")])
def test_it_is_printed_or_started(options: tuple[str, ...]) -> None:
    done = subprocess.run([OVERPAINT, "deploy", *options], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "overpaint: expected one of --print and --ray ADDRESS\n"


@pytest.mark.ray
def test_replicas_come_up_from_the_file_and_serve(folder: Path) -> None:
    config = printed("--replicas", "1-2", "--replica-cpus", "0.1")
    connect()
    try:
        ray_serve().start(proxy_location="Disabled")
        _get_global_client().deploy_apps(ServeDeploySchema.model_validate(config))
        with serving(Config(port=0, provider="ray://local", folder=folder), []) as door:
            job = door.ended(door.submit(size="64x64", steps=2)["id"])
            assert (job["status"], job["provider"]) == ("completed", "ray://local")
    finally:
        ray_serve().shutdown()
        ray.shutdown()

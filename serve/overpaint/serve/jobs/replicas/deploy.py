"""How replicas are deployed: what each opens, how many there are, and on what."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final

import msgspec

from overpaint.bundle.errors import MissingExtraError, UsageError
from overpaint.scale.cluster import connect
from overpaint.scale.places import place
from overpaint.serve.jobs.cluster import APPLICATION, ray_serve
from overpaint.serve.jobs.engines.bundles import Opening, served_bundle
from overpaint.serve.jobs.protocol import Provider
from overpaint.serve.jobs.providers.local import LocalProvider
from overpaint.serve.jobs.resources import Resources
from overpaint.serve.telemetry.metrics import Metrics

from .replica import Replica

if TYPE_CHECKING:
    from ray.serve import Application

DEPLOYMENT: Final = "Replica"
IMPORT_PATH: Final = f"{__name__}:build"
HEALTH_SECONDS: Final = 5.0  # between two questions, three of which must fail
ANSWER_SECONDS: Final = 10.0  # after which one has failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Engines:
    """What a replica opens, and what it lets jobs take; paths as its node sees them, and of bundles
    URLs too.

    `memory_budget` is in bytes, `job_seconds` are what one may run; `jobs` as `About` has it.
    """

    bundles: tuple[str, ...] = ()
    opening: Opening = field(default_factory=Opening)
    memory_budget: int | None = None
    job_seconds: float = 600.0
    max_steps: int = 150
    max_images: int = 10
    jobs: int = 2

    @classmethod
    def of(cls, args: Mapping[str, Any]) -> Engines:
        """From the plain values that `as_config` writes. Raises UsageError."""
        if unknown := args.keys() - {one.name for one in fields(cls)}:
            raise UsageError(f"args of {IMPORT_PATH}: unknown field `{min(unknown)}`")
        try:
            return msgspec.convert(args, cls, dec_hook=lambda kind, value: kind(value))
        except msgspec.ValidationError as error:
            raise UsageError(f"args of {IMPORT_PATH}: {error}") from None

    def provider(self) -> LocalProvider:
        """Raises UsageError, BundleError."""
        served = [served_bundle(at, self.opening) for at in map(place, self.bundles)]
        served = served or [served_bundle(None, self.opening)]
        return LocalProvider(
            Resources(
                served=tuple(served),
                memory_budget=self.memory_budget,
                queue=self.jobs,
                job_seconds=self.job_seconds,
                max_steps=self.max_steps,
                max_images=self.max_images,
                token=None,
                metrics=Metrics(),
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How many replicas there are, and what each takes of its node: processors, which is also the
    number of an engine's threads, and GPUs. Between `least` and `most` Serve decides by the jobs
    that wait and run. One that goes, as an update or fewer jobs have it, gets `drain_seconds`
    to finish those that it has."""

    least: int = 1
    most: int = 1
    cpus: float = 1.0
    gpus: float = 0.0
    drain_seconds: float = 30.0

    @classmethod
    def of(cls, replicas: str, cpus: float, gpus: float, drain_seconds: float) -> Scale:
        """`replicas` is a number, or two as "2-16". Raises UsageError."""
        ends = replicas.split("-")
        least, most = (int(one) if one.isdecimal() else 0 for one in (ends[0], ends[-1]))
        if len(ends) > 2 or not 1 <= least <= most:
            raise UsageError(f"--replicas: expected a number from 1, or MIN-MAX, got {replicas!r}")
        if cpus < 0 or gpus < 0:
            raise UsageError(f"--replica-cpus, --replica-gpus: expected 0 up, got {cpus}, {gpus}")
        return cls(least=least, most=most, cpus=cpus, gpus=gpus, drain_seconds=drain_seconds)

    @property
    def options(self) -> dict[str, Any]:
        """Of the deployment, in Ray Serve's words."""
        several: dict[str, Any] = {"num_replicas": self.least}
        if self.most > self.least:
            several = {
                "autoscaling_config": {
                    "min_replicas": self.least,
                    "max_replicas": self.most,
                    "target_ongoing_requests": 1,
                }
            }
        return {
            **several,
            "ray_actor_options": {"num_cpus": self.cpus, "num_gpus": self.gpus},
            "graceful_shutdown_timeout_s": self.drain_seconds,
            "health_check_period_s": HEALTH_SECONDS,
            "health_check_timeout_s": ANSWER_SECONDS,
        }


def application(make: Callable[[], Provider], jobs: int, scale: Scale) -> Application:
    """Replicas whose provider is what `make()` gives, called in each of them."""
    serve = ray_serve()
    deployment = serve.deployment(name=DEPLOYMENT, max_ongoing_requests=jobs, **scale.options)
    bound: Application = deployment(Replica).bind(make, jobs)
    return bound


def start(address: str, make: Callable[[], Provider], jobs: int, scale: Scale) -> None:
    """Have the cluster at `address` run this `application`, in the place of what it ran under that
    name, whose replicas get their time to end; returns before the new ones are up.

    Raises MissingExtraError, UsageError.
    """
    connect(address)
    serve = ray_serve()
    quiet = {"log_level": "WARNING", "enable_access_log": False}
    serve.start(proxy_location="Disabled", logging_config=quiet)  # clients talk to the front door
    made = application(make, jobs, scale)
    target = serve.RunTarget(made, name=APPLICATION, route_prefix=None, logging_config=quiet)
    serve.run_many([target], wait_for_applications_running=False)


@contextmanager
def deployed(address: str, make: Callable[[], Provider], jobs: int, scale: Scale) -> Iterator[None]:
    """`start`, and the end of it after the block."""
    start(address, make, jobs, scale)
    try:
        yield
    finally:
        ray_serve().delete(APPLICATION)


def build(args: dict[str, Any]) -> Application:
    """What a config's `import_path` names: replicas as its `args` have them. Raises UsageError."""
    engines = Engines.of(args)
    return application(engines.provider, engines.jobs, Scale())


def as_config(engines: Engines, scale: Scale) -> dict[str, Any]:
    """What `serve deploy` takes, as plain values."""
    return {
        "proxy_location": "Disabled",
        "applications": [
            {
                "name": APPLICATION,
                "route_prefix": None,
                "import_path": IMPORT_PATH,
                "args": msgspec.to_builtins(engines, enc_hook=str),
                "deployments": [{"name": DEPLOYMENT, **scale.options}],
            }
        ],
    }


def as_yaml(config: Mapping[str, Any]) -> str:
    """A config as the file that `serve deploy` and KubeRay read."""
    try:
        import yaml
    except ImportError as error:  # it comes with Ray
        raise MissingExtraError.told_by(error, "ray", "yaml") from error
    return str(yaml.safe_dump(config, sort_keys=False))

"""Does with Docker what a cluster does with the manifests: starts pods, probes them, runs jobs, stops pods.

A container is a pod of its own here, no network policy is enforced, and each workload has one replica.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType

from tests.deploy.images.docker import DockerError, docker, succeeds
from tests.deploy.images.pods import Pods
from tests.deploy.manifests import Manifest, container_of, pod_of
from tests.deploy.probing import PROBES, answers, wait_until

NETWORK = "sima-try-images"


class Kubelet:
    """Runs workloads by name, in a network of their own, and leaves nothing behind."""

    def __init__(self, manifests: list[Manifest], folder: Path, stand_ins: Mapping[str, str]) -> None:
        """Keep what is mounted in a folder, and take stand-ins for images that cannot be had."""
        self._manifests, self._stand_ins = manifests, stand_ins
        self._pods = Pods(manifests, folder)
        self._created: list[str] = []
        self._cleanup = ExitStack()

    def __enter__(self) -> "Kubelet":
        docker("network", "create", NETWORK)
        self._cleanup.callback(docker, "network", "rm", NETWORK)
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        with self._cleanup:
            if error:
                self._report()

    def start(self, workload: str) -> None:
        """Start the containers of a workload."""
        for one in pod_of(self._manifests, workload)["containers"]:
            name = _name(workload, one["name"])
            self._create(name, one, list(self._pods.options(workload, one)))
            self._cleanup.callback(docker, "rm", "--force", "--volumes", name)
            self._created.append(name)
            docker("start", name)

    def wait(self, workload: str) -> None:
        """Wait until all probes of a workload succeed, as long as its start may take.

        Raises:
            TimeoutError: They did not.
            DockerError: The workload ended instead.
        """
        own = container_of(self._manifests, workload)
        seconds = own["startupProbe"]["periodSeconds"] * own["startupProbe"]["failureThreshold"]
        for kind in PROBES:
            wait_until(partial(self._answers, workload, own, own[kind]), seconds, f"{kind} of {workload}")

    def complete(self, job: str, seconds: float) -> None:
        """Run a job to its end; what fails begins again, as often as the manifest says.

        Raises:
            TimeoutError: It did not end in time.
            DockerError: It failed for good.
        """
        self.start(job)
        for one in pod_of(self._manifests, job)["containers"]:
            name = _name(job, one["name"])
            wait_until(partial(_ended, name), seconds, name)
            if _state(name) != "exited 0":
                raise DockerError(f"{name}: {_state(name)}")

    def stop(self, workload: str) -> str:
        """Ask a workload to stop, and return how it ended: `exited 0` if by itself and within its grace period."""
        seconds = pod_of(self._manifests, workload)["terminationGracePeriodSeconds"]
        docker("stop", "-t", str(seconds), _name(workload, workload))
        return _state(_name(workload, workload))

    def port(self, workload: str, number: int) -> int:
        """The port of this machine that stands for a port of a workload."""
        return int(docker("port", _name(workload, workload), str(number)).rpartition(":")[2])

    def _create(self, name: str, own: Manifest, options: list[str]) -> None:
        environment = self._pods.environment(own)
        options += [f"--name={name}", f"--network={NETWORK}", *(f"--env={variable}" for variable in environment)]
        image = self._stand_ins.get(own["image"], own["image"])
        docker("create", *options, image, *own.get("args", []), environment=environment)

    def _report(self) -> None:
        for name in self._created:
            print(f"--- {name}: {_state(name)}\n{docker('logs', '--tail=10', name)}")

    def _answers(self, workload: str, own: Manifest, probe: Manifest) -> bool:
        if _ended(_name(workload, workload)):
            raise DockerError(f"{workload} ended before its probes succeeded")
        if "exec" in probe:
            return succeeds("exec", _name(workload, workload), *probe["exec"]["command"])
        return answers(own, probe, partial(self.port, workload))


def _name(workload: str, container: str) -> str:
    return f"{NETWORK}-{workload}-{container}"


def _state(name: str) -> str:
    return docker("inspect", "--format={{.State.Status}} {{.State.ExitCode}}", name)


def _ended(name: str) -> bool:
    return _state(name).startswith("exited")

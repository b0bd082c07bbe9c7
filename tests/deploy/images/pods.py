"""What the manifest of a container means to `docker create`: rights, limits, names, ports, environment and volumes."""

import base64
from collections.abc import Iterator
from pathlib import Path

from tests.deploy.manifests import Manifest, named, of_kind, pod_of, workloads

_PERIOD_MICROSECONDS = 100_000  # Docker's, and the kubelet's


class Pods:
    """The options of containers; what they mount of secrets is written below a folder."""

    def __init__(self, manifests: list[Manifest], folder: Path) -> None:
        self._manifests, self._folder = manifests, folder

    def options(self, workload: str, container: Manifest) -> Iterator[str]:
        """All options but those of the environment."""
        spec = pod_of(self._manifests, workload)
        yield from _rights(spec["securityContext"], container["securityContext"])
        yield from _limits(container["resources"]["limits"])
        yield from (f"--publish=127.0.0.1::{port['containerPort']}" for port in container.get("ports", []))
        yield from (f"--network-alias={name}" for name in self._services(workload))
        if spec.get("restartPolicy") == "OnFailure":
            yield f"--restart=on-failure:{workloads(self._manifests)[workload]['spec']['backoffLimit']}"
        for mount in container["volumeMounts"]:
            yield self._mount(workload, mount)

    def environment(self, container: Manifest) -> dict[str, str]:
        """The environment, with what it takes from secrets."""
        return {variable["name"]: self._value(variable) for variable in container["env"]}

    def _value(self, variable: Manifest) -> str:
        if "valueFrom" not in variable:
            return str(variable["value"])
        reference = variable["valueFrom"]["secretKeyRef"]
        return self._secret(reference["name"])[reference["key"]].decode()

    def _services(self, workload: str) -> Iterator[str]:
        labels = workloads(self._manifests)[workload]["spec"]["template"]["metadata"]["labels"]
        for service in of_kind(self._manifests, "Service"):
            if service["spec"]["selector"].items() <= labels.items():
                yield service["metadata"]["name"]

    def _mount(self, workload: str, mount: Manifest) -> str:
        spec = pod_of(self._manifests, workload)
        group, path = spec["securityContext"]["fsGroup"], mount["mountPath"]
        volume = next((one for one in spec["volumes"] if one["name"] == mount["name"]), None)
        if volume is None:  # a claim: as `fsGroup` leaves it, which a volume of Docker's own could not show
            options = f'volume-opt=type=tmpfs,volume-opt=device=tmpfs,"volume-opt=o=gid={group},mode=2775"'
            return f"--mount=type=volume,volume-nocopy,destination={path},{options}"
        if "emptyDir" in volume:
            return f"--tmpfs={path}:gid={group},mode=2777"
        folder = self._folder / workload / mount["name"]
        _write(folder, self._files(volume))
        return f"--mount=type=bind,source={folder},destination={path}" + (",readonly" if mount["readOnly"] else "")

    def _files(self, volume: Manifest) -> dict[str, bytes]:
        if "secret" in volume:
            return self._secret(volume["secret"]["secretName"])
        return {
            item["path"]: self._secret(source["secret"]["name"])[item["key"]]
            for source in volume["projected"]["sources"]
            for item in source["secret"]["items"]
        }

    def _secret(self, name: str) -> dict[str, bytes]:
        data = named(self._manifests, "Secret", name)["data"]
        return {key: base64.b64decode(value) for key, value in data.items()}


def _rights(pod_context: Manifest, context: Manifest) -> Iterator[str]:
    yield f"--user={pod_context['runAsUser']}:{pod_context['runAsGroup']}"
    yield f"--group-add={pod_context['fsGroup']}"
    yield f"--read-only={str(context['readOnlyRootFilesystem']).lower()}"
    yield f"--security-opt=no-new-privileges={str(not context['allowPrivilegeEscalation']).lower()}"
    yield from (f"--cap-drop={capability}" for capability in context["capabilities"]["drop"])


def _limits(limits: Manifest) -> Iterator[str]:
    memory = f"{limits['memory']}B"  # Gi is what Docker calls GiB
    yield f"--memory={memory}"
    yield f"--memory-swap={memory}"
    # Not `--cpus`, which refuses more than the machine has.
    yield f"--cpu-quota={int(float(limits['cpu']) * _PERIOD_MICROSECONDS)}"


def _write(folder: Path, files: dict[str, bytes]) -> None:
    """Write files as a cluster mounts them: everybody in the container may read them."""
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    for name, content in files.items():
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o644)

"""What holds for every manifest, whoever edits it next."""

from collections import Counter
from collections.abc import Iterator

import kubernetes_validate
import pytest
from sima_cli.stack import ALLOCATION
from sima_runtime.settings import ServerSettings

from tests.deploy.manifests import SERVICES, Manifest, container_of, named, of_kind, pod_of, workloads
from tests.deploy.probing import PROBES

# Who calls whom over gRPC; clients of the platform carry the label instead.
CALLERS = {
    "identity": {"profile", "segment"},
    "profile": {"collector", "segment"},
    "segment": set[str](),
    "collector": set[str](),
}
CLIENT = {"sima.dev/client": "true"}
KUBERNETES = "1.32"
# What a service may need after its last call, to close its files and end its processes.
CLOSING_SECONDS = 10


@pytest.fixture(params=["base", "dev"])
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    """Each build in turn."""
    built: list[Manifest] = request.getfixturevalue(request.param)
    return built


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Name and pod specification of every workload."""
    for name in workloads(manifests):
        yield name, pod_of(manifests, name)


def containers(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Name and specification of every container."""
    for name, spec in pods(manifests):
        for one in spec["containers"] + spec.get("initContainers", []):
            yield f"{name}/{one['name']}", one


def peers(rule: Manifest) -> set[str]:
    """The names of the services that an ingress rule admits."""
    return {
        label
        for peer in rule.get("from", [])
        if (label := peer.get("podSelector", {}).get("matchLabels", {}).get("app.kubernetes.io/name"))
    }


def test_every_manifest_is_valid(manifests: list[Manifest]) -> None:
    """No misspelt or misplaced field: each manifest passes the strict schema of its kind."""
    for manifest in manifests:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def test_every_service_is_there(base: list[Manifest]) -> None:
    """The four services and the migrations, each with a Service, a budget and a policy."""
    for name, kind in SERVICES.items():
        for wanted in (kind, "Service", "PodDisruptionBudget", "NetworkPolicy"):
            assert named(base, wanted, name)
    assert named(base, "Job", "migrations")


def test_what_migrations_need_is_applied_before_the_services(dev: list[Manifest]) -> None:
    """All but what bears the name of a service, as docs/operating.md applies it, is enough for the Job."""
    first = [each for each in dev if each["metadata"].get("labels", {}).get("app.kubernetes.io/name") not in SERVICES]
    kinds = Counter(each["kind"] for each in first)
    assert kinds["Job"] == kinds["Namespace"] == 1
    assert kinds["Secret"] == sum(each["kind"] == "Secret" for each in dev)
    assert [each["metadata"]["name"] for each in first if each["kind"] == "StatefulSet"] == ["postgres"]
    assert kinds["Deployment"] == 0


def test_pods_run_without_privileges(manifests: list[Manifest]) -> None:
    """Non-root, the default seccomp profile, and no token of the cluster."""
    for name, pod in pods(manifests):
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True, name
        assert context["runAsUser"] > 0, name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        assert not any(pod.get(field) for field in ("hostNetwork", "hostPID", "hostIPC")), name


def test_containers_can_change_nothing_but_their_volumes(manifests: list[Manifest]) -> None:
    """A read-only root, no capability, no way to gain one."""
    for name, container in containers(manifests):
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True, name
        assert context["allowPrivilegeEscalation"] is False, name
        assert context["capabilities"] == {"drop": ["ALL"]}, name


def test_containers_have_requests_and_limits(manifests: list[Manifest]) -> None:
    """The scheduler knows what each needs, and none can starve its neighbours."""
    for name, container in containers(manifests):
        for bound in ("requests", "limits"):
            assert set(container["resources"][bound]) == {"cpu", "memory"}, name


def test_the_grpc_services_are_probed_by_grpc(base: list[Manifest]) -> None:
    """Start, readiness and life are asked of the health service itself; the collector's are asked over HTTP."""
    for name in SERVICES:
        how = "httpGet" if name == "collector" else "grpc"
        for probe in PROBES:
            assert how in container_of(base, name)[probe], f"{name} {probe}"


def test_secrets_come_by_reference_only(base: list[Manifest]) -> None:
    """No value of a secret stands in the base, neither as manifest nor as environment."""
    assert of_kind(base, "Secret") == []
    for name, container in containers(base):
        for variable in container["env"]:
            if any(word in variable["name"] for word in ("URL", "PASSWORD", "SECRET")):
                assert "secretKeyRef" in variable["valueFrom"], f"{name} {variable['name']}"


def test_every_secret_that_a_pod_needs_is_made_for_development(dev: list[Manifest]) -> None:
    """The overlay is whole: each reference finds its secret and its key."""
    made = {
        secret["metadata"]["name"]: set(secret.get("data", {})) | set(secret.get("stringData", {}))
        for secret in of_kind(dev, "Secret")
    }
    wanted = list(references(dev))
    assert wanted
    for where, secret, key in wanted:
        assert secret in made, f"{where} wants {secret}"
        assert key is None or key in made[secret], f"{where} wants {secret}/{key}"


def references(manifests: list[Manifest]) -> Iterator[tuple[str, str, str | None]]:
    """Every reference to a secret: where, which, and which key of it (None: the whole)."""
    for name, container in containers(manifests):
        for variable in container.get("env", []):
            if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                yield name, reference["name"], reference["key"]
    for name, pod in pods(manifests):
        for volume in pod.get("volumes", []):
            if "secret" in volume:
                yield name, volume["secret"]["secretName"], None
            for source in volume.get("projected", {}).get("sources", []):
                for item in source["secret"]["items"]:
                    yield name, source["secret"]["name"], item["key"]


def test_nothing_speaks_unless_a_policy_says_so(manifests: list[Manifest]) -> None:
    """Deny all, both ways, and one policy for each workload that closes both ways too."""
    deny = named(manifests, "NetworkPolicy", "default-deny")["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name, _ in pods(manifests):
        spec = named(manifests, "NetworkPolicy", name)["spec"]
        assert spec["podSelector"]["matchLabels"]["app.kubernetes.io/name"] == name
        assert set(spec["policyTypes"]) == {"Ingress", "Egress"}


@pytest.mark.parametrize("name", ["identity", "profile", "segment"])
def test_a_service_admits_its_callers_only(base: list[Manifest], name: str) -> None:
    """The gRPC port is open to the services that call it and to labelled clients, to nobody else."""
    rules = [
        rule
        for rule in named(base, "NetworkPolicy", name)["spec"]["ingress"]
        if {"port": 8443} in [{"port": port["port"]} for port in rule["ports"]]
    ]
    assert len(rules) == 1
    assert peers(rules[0]) == CALLERS[name]
    assert {"podSelector": {"matchLabels": CLIENT}} in rules[0]["from"]


def test_every_call_has_a_way_out_and_a_way_in(base: list[Manifest]) -> None:
    """Whoever is admitted by a callee may also leave for it."""
    for callee, callers in CALLERS.items():
        for caller in callers:
            egress = named(base, "NetworkPolicy", caller)["spec"]["egress"]
            ways = [
                peer["podSelector"]["matchLabels"]["app.kubernetes.io/name"]
                for rule in egress
                if {port["port"] for port in rule["ports"]} == {8443}
                for peer in rule["to"]
            ]
            assert callee in ways, f"{caller} -> {callee}"


def test_no_budget_blocks_a_drain(manifests: list[Manifest]) -> None:
    """Every budget lets at least one pod go, also that of the single writer."""
    for budget in of_kind(manifests, "PodDisruptionBudget"):
        assert budget["spec"].get("maxUnavailable", 0) >= 1, budget["metadata"]["name"]
        assert "minAvailable" not in budget["spec"], budget["metadata"]["name"]


def test_the_grpc_services_are_headless(base: list[Manifest]) -> None:
    """gRPC keeps one connection; only a headless Service shows clients every replica."""
    for name in SERVICES:
        assert named(base, "Service", name)["spec"]["clusterIP"] == "None", name


def test_no_rollout_refuses_a_connection(manifests: list[Manifest]) -> None:
    """A pod that is told to stop listens until nobody is sent to it any more, and has time to drain after that."""
    for name in SERVICES:
        not_serving = seconds(manifests, name, "not_serving_seconds")
        assert not_serving > 0, name
        needed = not_serving + seconds(manifests, name, "drain_seconds") + CLOSING_SECONDS
        assert pod_of(manifests, name)["terminationGracePeriodSeconds"] >= needed, name


def seconds(manifests: list[Manifest], name: str, setting: str) -> float:
    """What a service is told, or else what it does by itself."""
    told = {variable["name"]: variable.get("value") for variable in container_of(manifests, name)["env"]}
    default = ServerSettings.model_fields[setting].default  # the collector has the same
    return float(told.get(f"SIMA_{name}_{setting}".upper(), default))


def test_segment_allocates_as_it_does_on_one_machine(base: list[Manifest]) -> None:
    """`sima up` and the manifest tell the C library the same."""
    environment = {each["name"]: each.get("value") for each in container_of(base, "segment")["env"]}
    assert environment.items() >= ALLOCATION.items()


def test_the_single_writer_is_single(base: list[Manifest]) -> None:
    """One segment pod at a time, with its file on a volume of its own."""
    spec = named(base, "StatefulSet", "segment")["spec"]
    assert spec["replicas"] == 1
    assert [claim["metadata"]["name"] for claim in spec["volumeClaimTemplates"]] == ["data"]


def test_selectors_meet_their_pods(manifests: list[Manifest]) -> None:
    """No Service, budget or policy points at nothing."""
    labels = [manifest["spec"]["template"]["metadata"]["labels"] for manifest in workloads(manifests).values()]
    selectors = [
        (manifest["metadata"]["name"], manifest["spec"]["selector"]) for manifest in of_kind(manifests, "Service")
    ]
    selectors += [
        (manifest["metadata"]["name"], manifest["spec"]["selector"]["matchLabels"])
        for manifest in of_kind(manifests, "PodDisruptionBudget")
    ]
    for name, selector in selectors:
        assert any(selector.items() <= pod.items() for pod in labels), name

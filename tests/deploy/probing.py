"""What the kubelet would find out with the probes of a manifest."""

import time
from collections.abc import Callable

import grpc
import httpx
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.deploy.manifests import Manifest

PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
_SECONDS = 2
_PAUSE_SECONDS = 0.2


def answers(container: Manifest, probe: Manifest, port: Callable[[int], int]) -> bool:
    """Whether a probe over HTTP or gRPC succeeds; `port` says which port of this machine stands for a container's."""
    if "grpc" in probe:
        return _serves(port(probe["grpc"]["port"]), probe["grpc"].get("service", ""))
    wanted = probe["httpGet"]
    (number,) = (one["containerPort"] for one in container["ports"] if one["name"] == wanted["port"])
    return _succeeds(f"http://127.0.0.1:{port(number)}{wanted['path']}")


def wait_until(holds: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait until something holds.

    Raises:
        TimeoutError: It did not in time.
    """
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            raise TimeoutError(f"{what}: not within {seconds} seconds")
        time.sleep(_PAUSE_SECONDS)


def _serves(port: int, service: str) -> bool:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=_SECONDS)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _succeeds(url: str) -> bool:
    try:
        return httpx.get(url, timeout=_SECONDS).is_success
    except httpx.TransportError:
        return False

"""Each container's command, started with the environment of its manifest, becomes healthy."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from tests.deploy.manifests import SERVICES, Manifest, container_of
from tests.deploy.probing import PROBES, answers
from tests.ports import free_port

HEALTHY_SECONDS = 60


class Machine:
    """Stands in for the cluster: maps ports, mounted files and the database of the manifests to this machine."""

    def __init__(self, secrets: Path, data: Path, database_url: str) -> None:
        self._secrets = secrets
        self._data = data
        self._database_url = database_url
        self._ports: dict[tuple[str, int], int] = {}

    def port(self, service: str, port: int) -> int:
        """The port of this machine that stands for a service's port; the same for all who ask."""
        if (service, port) not in self._ports:
            self._ports[service, port] = free_port()
        return self._ports[service, port]

    def environment(self, service: str, container: Manifest) -> dict[str, str]:
        """What the container's environment means here."""
        return {variable["name"]: self._value(service, variable) for variable in container["env"]}

    def _value(self, service: str, variable: Manifest) -> str:
        if "valueFrom" in variable:
            assert variable["valueFrom"]["secretKeyRef"]["name"].startswith("sima-database")
            return self._database_url
        value: str = variable["value"]
        if listen := re.fullmatch(r"0\.0\.0\.0:(\d+)", value):
            return f"127.0.0.1:{self.port(service, int(listen[1]))}"
        if target := re.fullmatch(r"dns:///(\w+):(\d+)", value):
            return f"dns:///localhost:{self.port(target[1], int(target[2]))}"
        if mounted := re.fullmatch(r"/etc/sima/\w+/(.+)", value):
            return str(self._secrets / {"token": "service-token"}.get(mounted[1], mounted[1]))
        if value == "/data":
            return str(self._data)
        return value


@pytest.fixture
def machine(secrets_folder: Path, tmp_path: Path, migrated: Callable[[str], str], postgres_url: str) -> Machine:
    """A machine with a migrated database."""
    for service in ("identity", "profile", "segment"):
        migrated(f"sima_{service}")
    return Machine(secrets_folder, tmp_path, postgres_url)


@pytest.fixture
def started(dev: list[Manifest], machine: Machine, tmp_path: Path) -> Iterator[dict[str, Path]]:
    """All four, started as their manifests say; gives their logs."""
    logs = {service: tmp_path / f"{service}.log" for service in SERVICES}
    processes = []
    for service in SERVICES:
        with logs[service].open("wb") as log:
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", f"sima_{service}"],
                    env={**os.environ, **machine.environment(service, container_of(dev, service))},
                    stdout=log,
                    stderr=log,
                )
            )
    yield logs
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait(timeout=HEALTHY_SECONDS)


def test_the_manifests_settings_exist(base: list[Manifest]) -> None:
    """Every variable of a manifest is a setting of its service: none is misspelt or out of date."""
    from sima_cli.stack import ALLOCATION
    from sima_collector.settings import CollectorSettings
    from sima_identity.settings import IdentitySettings
    from sima_profile.settings import ProfileSettings
    from sima_segment.settings import SegmentSettings

    known: dict[str, type[BaseSettings]] = {
        "identity": IdentitySettings,
        "profile": ProfileSettings,
        "segment": SegmentSettings,
        "collector": CollectorSettings,
    }
    for service, settings in known.items():
        names = {f"SIMA_{service}_{field}".upper() for field in settings.model_fields}
        given = {variable["name"] for variable in container_of(base, service)["env"]}
        assert given <= names | (ALLOCATION.keys() if service == "segment" else set()), service


@pytest.mark.slow
def test_every_container_becomes_healthy(dev: list[Manifest], machine: Machine, started: dict[str, Path]) -> None:
    """With TLS, tokens and the workspace key, each answers the probes of its own manifest."""
    for service in SERVICES:
        own = container_of(dev, service)
        for kind in PROBES:
            until = time.monotonic() + HEALTHY_SECONDS
            while not answers(own, own[kind], partial(machine.port, service)):
                assert time.monotonic() < until, f"{service} {kind}:\n{started[service].read_text()[-2000:]}"
                time.sleep(0.2)

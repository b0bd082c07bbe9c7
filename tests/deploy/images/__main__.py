"""Builds the four images and lets them work together as deploy/overlays/dev says: `scripts/try-images` runs it.

Its arguments are handed on to `docker build`.
"""

import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from tests.deploy.images.docker import docker, succeeds
from tests.deploy.images.kubelet import Kubelet
from tests.deploy.manifests import DEV, ROOT, SERVICES, Manifest, build, make_secrets, of_kind
from tests.deploy.probing import wait_until

POSTGRES = "postgres:18"
STAND_IN = "sima-try-postgres"
MIGRATION_SECONDS = 120
ENTERED_SECONDS = 30
TOKEN = "only-for-this-trial"
SOURCES = {
    "sources": [{"name": "server", "workspace": "main", "connector": "api", "secrets": {"token": {"value": TOKEN}}}]
}
ADA, PHONE, BEN = "email:ada@example.com", "phone:+4915127046318", "email:ben@example.com"
LOYAL = 'events("order_completed").within("30d").count() >= 2'
# What must hold in an image, whoever runs it.
SOUND = 'test "$(id -u)" = 10001 && for tool in cc gcc c++ g++ make; do ! command -v "$tool" || exit 1; done'


def main() -> None:
    """Build, inspect, run, and say what was seen; anything that does not hold ends it with an exception."""
    options = sys.argv[1:]
    for service in SERVICES:
        build_image(service, options)
    secrets = make_secrets()
    manifests = with_sources(build(DEV))
    with tempfile.TemporaryDirectory() as folder, Kubelet(manifests, Path(folder), stand_ins(options)) as kubelet:
        bring_up(kubelet)
        converse(kubelet, secrets)
        for service in reversed(SERVICES):
            check(f"{service} stops", kubelet.stop(service), "exited 0")
    print("everything held")


def build_image(service: str, options: list[str]) -> None:
    """Build one image as a user does, and see that it is sound."""
    began, tag = time.monotonic(), f"sima-{service}:dev"
    dockerfile = f"--file={ROOT / 'deploy' / 'Dockerfile'}"
    docker("build", *options, f"--build-arg=SERVICE={service}", f"--tag={tag}", dockerfile, str(ROOT))
    docker("run", "--rm", "--network=none", "--entrypoint=sh", tag, "-c", SOUND)
    size = int(docker("image", "inspect", "--format={{.Size}}", tag)) / 1e6
    print(f"{tag}: {size:,.0f} MB, built in {time.monotonic() - began:.0f} s; not root, no compiler")


def stand_ins(options: list[str]) -> dict[str, str]:
    """What stands in for the image of PostgreSQL where no registry is reachable: the one of Debian."""
    if succeeds("image", "inspect", POSTGRES) or succeeds("pull", POSTGRES):
        return {}
    folder = Path(__file__).parent / "postgres"
    docker("build", *options, f"--tag={STAND_IN}", str(folder))
    print(f"{POSTGRES} cannot be had: the PostgreSQL of Debian stands in")
    return {POSTGRES: STAND_IN}


def with_sources(manifests: list[Manifest]) -> list[Manifest]:
    """The manifests with the source of this trial in the secret of the sources."""
    for secret in of_kind(manifests, "Secret"):
        if "sources.yaml" in secret["data"]:
            secret["data"]["sources.yaml"] = base64.b64encode(json.dumps(SOURCES).encode()).decode()
    return manifests


def bring_up(kubelet: Kubelet) -> None:
    """Start everything in the order of docs: the database, the migrations, then the services, all at once."""
    began = time.monotonic()
    kubelet.start("postgres")
    kubelet.wait("postgres")
    kubelet.complete("migrations", MIGRATION_SECONDS)
    print(f"migrated after {time.monotonic() - began:.1f} s")
    for service in SERVICES:
        kubelet.start(service)
    for service in SERVICES:
        kubelet.wait(service)
    print(f"all probes succeed after {time.monotonic() - began:.1f} s")


def converse(kubelet: Kubelet, secrets: Path) -> None:
    """Send facts in, read a profile back, and see who enters a segment."""
    send(kubelet, [order("1", ADA, city="Berlin"), order("2", ADA, PHONE), order("3", BEN)])
    ada, ben = (sima(kubelet, secrets, "profile", "get", who) for who in (ADA, BEN))
    check("Ada's city", ada["traits"]["city"]["values"][0]["value"], "Berlin")
    check("Ada's identifiers", sorted(ada["identifiers"]), [ADA, PHONE])
    created = sima(kubelet, secrets, "segment", "create", "loyal", LOYAL)
    check("people in the new segment", created["size"], 1)
    check("its members", members(kubelet, secrets), {ada["profile_id"]})
    send(kubelet, [order("4", BEN)])
    wait_until(lambda: len(members(kubelet, secrets)) == 2, ENTERED_SECONDS, "Ben enters")
    check("its members after Ben's order", members(kubelet, secrets), {ada["profile_id"], ben["profile_id"]})


def order(message_id: str, *identifiers: str, **traits: str) -> dict[str, Any]:
    """An order of somebody, as the connector `api` takes it."""
    pairs = (identifier.split(":") for identifier in identifiers)
    return {
        "message_id": message_id,
        "identifiers": [{"kind": kind, "value": value} for kind, value in pairs],
        "event": {"name": "order_completed", "properties": {"total": 20.0}},
        "traits": [{"name": name, "value": value} for name, value in traits.items()],
    }


def send(kubelet: Kubelet, facts: list[dict[str, Any]]) -> None:
    """Send facts to the collector, which must accept every one."""
    url = f"http://127.0.0.1:{kubelet.port('collector', 8080)}/in/server/batch"
    answer = httpx.post(url, json={"batch": facts}, headers={"authorization": f"Bearer {TOKEN}"}, timeout=30)
    check("the collector's answer", (answer.status_code, answer.headers.get("sima-accepted")), (200, str(len(facts))))


def members(kubelet: Kubelet, secrets: Path) -> set[str]:
    """Who is in the segment."""
    return {member["profile_id"] for member in sima(kubelet, secrets, "segment", "members", "loyal")}


def sima(kubelet: Kubelet, secrets: Path, *command: str) -> Any:
    """What a command of `sima` answers, over TLS and with the token of a client."""
    where = {
        f"SIMA_{service.upper()}_ADDRESS": f"localhost:{kubelet.port(service, 8443)}"
        for service in ("identity", "profile", "segment")
    }
    credentials = {"SIMA_CA_FILE": str(secrets / "ca.crt"), "SIMA_TOKEN_FILE": str(secrets / "client-token")}
    done = subprocess.run(
        [sys.executable, "-m", "sima_cli", *command, "--json"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
        env={**os.environ, **where, **credentials},
    )
    return json.loads(done.stdout)


def check(what: str, seen: object, expected: object) -> None:
    """Say what was seen, and end the trial if it is not what was expected."""
    if seen != expected:
        raise SystemExit(f"{what}: {seen}, expected {expected}")
    print(f"{what}: {seen}")


if __name__ == "__main__":
    main()

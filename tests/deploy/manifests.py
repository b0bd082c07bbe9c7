"""The manifests as kustomize builds them, and where things stand in them."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
BASE = ROOT / "deploy" / "base"
DEV = ROOT / "deploy" / "overlays" / "dev"
SERVICES = {"identity": "Deployment", "profile": "Deployment", "segment": "StatefulSet", "collector": "StatefulSet"}

Manifest = dict[str, Any]


def build(folder: Path) -> list[Manifest]:
    """What `kubectl kustomize` makes of a folder."""
    done = subprocess.run(
        [ROOT / "scripts" / "kubectl", "kustomize", folder], check=True, capture_output=True, text=True, timeout=300
    )
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


def make_secrets() -> Path:
    """Make the development secrets as a user makes them, and return their folder."""
    subprocess.run([sys.executable, ROOT / "scripts" / "dev-secrets"], check=True, capture_output=True, timeout=60)
    return DEV / "secrets"


def of_kind(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    """The manifests of some kinds."""
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def named(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    """The one manifest of a kind and name."""
    (found,) = (manifest for manifest in of_kind(manifests, kind) if manifest["metadata"]["name"] == name)
    return found


def workloads(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Everything that makes pods, by name."""
    found = of_kind(manifests, "Deployment", "StatefulSet", "Job")
    return {manifest["metadata"]["name"]: manifest for manifest in found}


def pod_of(manifests: list[Manifest], name: str) -> Manifest:
    """The pod specification of a workload."""
    found: Manifest = workloads(manifests)[name]["spec"]["template"]["spec"]
    return found


def container_of(manifests: list[Manifest], name: str) -> Manifest:
    """The one container of a workload."""
    (found,) = pod_of(manifests, name)["containers"]
    return dict(found)

"""The development secrets: whole after any run, and left alone while they are."""

import hashlib
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

SCRIPT = Path(__file__).parents[2] / "scripts" / "dev-secrets"

Make = Callable[[], dict[str, str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the secrets are."""
    return tmp_path / "secrets"


@pytest.fixture
def make(folder: Path) -> Make:
    """Make the secrets as a user does, and return them by name."""

    def make() -> dict[str, str]:
        subprocess.run([sys.executable, SCRIPT, folder], check=True, capture_output=True, timeout=60)
        return {file.name: file.read_text() for file in folder.iterdir()}

    return make


def check(made: dict[str, str]) -> None:
    """Assert that the secrets fit each other."""
    hashes = {token["sha256"] for token in json.loads(made["tokens.json"])}
    assert hashes == {hashlib.sha256(made[name].encode()).hexdigest() for name in ("service-token", "client-token")}
    assert made["database.env"].count(f":{made['postgres-password']}@") == 3
    authority, own = (x509.load_pem_x509_certificate(made[name].encode()) for name in ("ca.crt", "tls.crt"))
    own.verify_directly_issued_by(authority)
    key = serialization.load_pem_private_key(made["tls.key"].encode(), None)
    assert key.public_key() == own.public_key()


def test_nobody_else_reads_the_secrets(make: Make, folder: Path) -> None:
    """They fit each other, and are private one by one."""
    check(make())
    assert all(file.stat().st_mode & 0o077 == 0 for file in [folder, *folder.iterdir()])


def test_secrets_that_are_there_stay(make: Make) -> None:
    """Running pods keep theirs however often the script is run."""
    assert make() == make()


MADE = ["admin-token", "ca.crt", "client-token", "database.env", "postgres-password", "service-token", "sources.yaml"]
MADE += ["tls.crt", "tls.key", "tokens.json", "workspace-key"]


@pytest.mark.parametrize("lost", MADE)
def test_what_is_missing_is_made_to_fit_the_rest(make: Make, folder: Path, lost: str) -> None:
    """One file that an interrupted run did not write is made, and no secret that nothing ties to it changes."""
    before = make()
    assert sorted(before) == MADE
    (folder / lost).unlink()
    after = make()
    check(after)
    tied = [{"ca.crt", "tls.crt", "tls.key"}, {"postgres-password", "database.env"}]
    tied += [{"client-token", "tokens.json"}, {"service-token", "tokens.json"}]
    may_change = {lost}.union(*(group for group in tied if lost in group))
    assert {name for name in MADE if before[name] != after[name]} <= may_change


def test_an_empty_file_counts_as_missing(make: Make, folder: Path) -> None:
    """A run that was interrupted between making a file and writing it is completed."""
    make()
    (folder / "service-token").write_text("")
    check(make())


@pytest.mark.parametrize("stop", range(1, len(MADE)))
def test_a_run_that_was_interrupted_is_completed_by_the_next(
    make: Make, folder: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    """Wherever it stopped, the secrets are whole afterwards, and no draft is left."""
    written = [0]
    replace = os.replace

    def interrupted(*paths: Any) -> None:
        written[0] += 1
        if written[0] > stop:
            raise KeyboardInterrupt
        replace(*paths)

    main = runpy.run_path(str(SCRIPT))["main"]
    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        main(folder)
    made = make()
    assert sorted(made) == MADE
    check(made)


@pytest.mark.parametrize("valid", [timedelta(0), timedelta(days=20)])
def test_certificates_that_expire_soon_are_renewed(make: Make, folder: Path, valid: timedelta) -> None:
    """Nothing else changes with them."""
    script = runpy.run_path(str(SCRIPT))
    script["main"].__globals__["VALID"] = valid
    script["main"](folder)
    before = {file.name: file.read_text() for file in folder.iterdir()}
    after = make()
    check(after)
    assert {name for name in MADE if before[name] != after[name]} == {"ca.crt", "tls.crt", "tls.key"}

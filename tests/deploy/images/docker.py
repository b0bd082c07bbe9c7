"""Docker, by its command."""

import os
import subprocess
from collections.abc import Mapping


class DockerError(Exception):
    """A command of Docker failed; the text is what Docker says."""


def docker(*arguments: str, environment: Mapping[str, str] | None = None, text: str | None = None) -> str:
    """Run a command, with more environment and a standard input, and return what it prints.

    Raises:
        DockerError: It failed.
    """
    done = subprocess.run(
        ["docker", *arguments],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        input=text,
        env={**os.environ, **(environment or {})},
    )
    if done.returncode:
        raise DockerError(f"docker {arguments[0]}: {done.stdout.strip()[-4000:]}")
    return done.stdout.strip()


def succeeds(*arguments: str) -> bool:
    """Whether a command succeeds."""
    try:
        docker(*arguments)
    except DockerError:
        return False
    return True

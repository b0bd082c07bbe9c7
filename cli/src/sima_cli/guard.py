"""Ends the processes of `sima up`, also when `sima up` itself was killed.

The supervisor starts this module as a small process of its own and tells it over a pipe which processes it started.
When the pipe closes, by a call or because the supervisor is no more, the guard ends them, the last started first. Until
it has, it holds the lock that it was given, so that who comes after a supervisor that was killed can wait for it.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass

import psutil  # type: ignore[import-untyped]

GRACE_SECONDS = 10.0
_CLOCK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Ward:
    """A process to end.

    Attributes:
        pid: Its id.
        born: When it was created, in seconds since 1970, so that a later process with the same id is left alone.
        ask_with: The signal that asks it to end.
        group: It leads a process group, which ends with it.
    """

    pid: int
    born: float
    ask_with: int = signal.SIGTERM
    group: bool = True


class Guard:
    """The supervisor's side of the pipe."""

    def __init__(self, grace_seconds: float = GRACE_SECONDS, lock: int | None = None) -> None:
        """Start the guard; it kills what has not ended so long after it was asked to, and holds a lock until then."""
        self._wards: list[Ward] = []
        self._grace_seconds = grace_seconds
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "sima_cli.guard", str(grace_seconds)],
            stdin=subprocess.PIPE,
            pass_fds=() if lock is None else (lock,),  # a lock is given back once nobody has it open any more
            start_new_session=True,  # Ctrl-C in the terminal is for the supervisor alone
        )

    def watch(self, pid: int, *, ask_with: int = signal.SIGTERM, group: bool = True) -> None:
        """Have a process ended when this one closes the guard or is gone."""
        ward = Ward(pid, born(pid), ask_with, group)
        self._wards.append(ward)
        pipe = self._process.stdin
        if pipe is not None:
            pipe.write(json.dumps(asdict(ward)).encode() + b"\n")
            pipe.flush()

    def close(self) -> None:
        """End all watched processes and return when they are gone."""
        with suppress(BrokenPipeError):
            self._process.communicate()
        end(self._wards, self._grace_seconds)  # nothing is left to do unless somebody killed the guard


def end(wards: Sequence[Ward], grace_seconds: float) -> None:
    """Ask the processes to end, the last started first, and kill what does not within some seconds."""
    for ward in reversed(wards):
        process = _process(ward)
        if process is not None:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(ward.ask_with)
            _wait(process, grace_seconds)
        if ward.group and (process or not psutil.pid_exists(ward.pid)):
            _kill_group(ward.pid)  # children that outlived it


def born(pid: int) -> float:
    """Return when the process with this id was created, in seconds since 1970; 0 if there is none."""
    with suppress(psutil.NoSuchProcess):
        return float(psutil.Process(pid).create_time())
    return 0.0


def is_alive(pid: int, created: float) -> bool:
    """Whether the process with this id is still the one that was created then."""
    return abs(born(pid) - created) < _CLOCK_SECONDS


def _process(ward: Ward) -> psutil.Process | None:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(ward.pid) if is_alive(ward.pid, ward.born) else None
    return None


def _wait(process: psutil.Process, seconds: float) -> None:
    """Return when a process has ended; one that has not within so many seconds is killed."""
    with suppress(psutil.NoSuchProcess):
        if not psutil.wait_procs([process], timeout=seconds)[0]:
            process.kill()


def _kill_group(leader: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def main() -> None:
    """Collect wards from standard input until it closes, then end them."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # whoever ends us too early would leave the others alone
    end([Ward(**json.loads(line)) for line in sys.stdin], float(sys.argv[1]))


if __name__ == "__main__":
    main()

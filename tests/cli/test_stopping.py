"""What it means to end a command by a signal: it was interrupted, unless it only stayed for that signal."""

import subprocess
import sys

import pytest

COMMAND = """
import asyncio, os, signal, sys, typer
from sima_cli.failures import runs
from sima_cli.stopping import until_stopped

@runs
async def command(does: str, number: int) -> None:
    with until_stopped() as stay:
        asyncio.get_running_loop().call_later(0.2, os.kill, os.getpid(), number)
        try:
            await (stay() if does == "stays" else asyncio.sleep(60))
        finally:
            os.kill(os.getpid(), number)
            await asyncio.sleep(0.2)
            print("cleaned up")

typer.run(command)
"""


@pytest.mark.parametrize("number", ["2", "15"])
@pytest.mark.parametrize(("does", "code"), [("stays", 0), ("works", 130)])
def test_stopping_what_stays_for_it_is_success(does: str, number: str, code: int) -> None:
    """Whoever was told to stop it with Ctrl-C sees no failure; a second signal disturbs neither way of ending."""
    result = subprocess.run([sys.executable, "-c", COMMAND, does, number], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (code, "cleaned up\n"), result.stderr

"""In a terminal of usual width whatever a command is told again stands whole: ids and identifiers can be copied."""

import os
import pty
import re
import subprocess
import sys
import termios
import time

import pytest

from tests.e2e.conftest import Stack

SHOP = "phone:+4930901820"
CONTACTS = """\
Record ID,First Name,Email,Phone Number,Loyalty Card
11,Ines,ines.falk-lindenbaum@post.example.com,+49 151 27046318,4711
12,Omar,omar@example.com,,4711
""" + "".join(f"{number},Guest,guest-{number}@example.com,+49 30 901820,\n" for number in range(20, 34))
REQUEST = "0123456789abcdef" * 2
INES, OMAR = "email:ines.falk-lindenbaum@post.example.com", "email:omar@example.com"


@pytest.fixture(scope="module")
def known(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two who were one and are parted, and a telephone that many gave; the decision, who moved, who would move back."""
    file = tmp_path_factory.mktemp("narrow") / "contacts.csv"
    file.write_text(CONTACTS)
    assert stack.sima("narrow", "import", "narrow", str(file)).exit_code == 0
    parted = ("user_id:hubspot:12", "--from", INES, "--from", "loyalty_card:4711", "--from", "user_id:hubspot:11")
    made = stack.json("narrow", "identity", "split", OMAR, *parted, "--reason", "card 4711", "--actor", "service-desk")
    told = ("--reason", "she asked for it, in writing, and we confirmed it by letter", "--request-id", REQUEST, "--yes")
    assert stack.sima("narrow", "identity", "erase", "email:nobody@example.com", *told).exit_code == 0
    deadline = time.monotonic() + 60
    while not stack.json("narrow", "identity", "hubs"):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    decision, moved = made["decision"]["id"], made["changes"][0]["identifier"]
    again = stack.json("narrow", "identity", "withdraw", decision, "--reason", "no", "--preview")
    return {"DECISION": decision, "MOVED": moved, "BACK": again["changes"][0]["identifier"]}


def in_terminal(stack: Stack, columns: int, *command: str) -> str:
    """What a command prints in a terminal of so many columns, without its colours."""
    main, own = pty.openpty()
    termios.tcsetwinsize(own, (40, columns))
    arguments = [sys.executable, "-m", "sima_cli", "--data-dir", str(stack.data_dir), "--workspace", "narrow", *command]
    environment = {**os.environ, "TERM": "xterm"}
    environment.pop("COLUMNS", None)
    with subprocess.Popen(arguments, stdin=own, stdout=own, stderr=own, env=environment) as process:
        os.close(own)
        said = b""
        while part := _read(main):
            said += part
    os.close(main)
    assert process.returncode == 0, said
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said.decode()).replace("\r\n", "\n")


def _read(main: int) -> bytes:
    try:
        return os.read(main, 1 << 16)
    except OSError:  # nobody writes any more
        return b""


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize(
    ("command", "whole"),
    [
        (("decisions", OMAR), [INES, OMAR, "user_id:hubspot:12", "loyalty_card:4711", "DECISION"]),
        (("history", "MOVED"), ["MOVED", "DECISION"]),
        (("history", INES, "--known-at", "2100-01-01"), [INES]),
        (("hubs",), [SHOP]),
        (("shared",), [SHOP]),
        (("erasures",), [REQUEST]),
        (("explain", INES, OMAR), [INES, OMAR, "DECISION"]),
        (("explain", INES, SHOP), []),
        (("affiliations", OMAR), []),
        (("graph", OMAR), [INES, OMAR, "DECISION"]),
        (("withdraw", "DECISION", "--reason", "no", "--preview"), ["BACK"]),
    ],
    ids=lambda value: "-".join(value[:1]) if isinstance(value, tuple) else "",
)
def test_ids_and_identifiers_are_whole(
    stack: Stack, known: dict[str, str], columns: int, command: tuple[str, ...], whole: list[str]
) -> None:
    """Nothing is cut off, and no line is longer than the terminal."""
    said = in_terminal(stack, columns, "identity", *(known.get(word, word) for word in command))
    assert {known.get(word, word) for word in whole} <= set(re.split(r"[\s,;]+", said))
    assert "…" not in re.sub(r"\b[0-9a-f]{8}…", "", said)
    assert max(map(len, said.splitlines())) <= columns


def test_what_is_listed_can_be_taken_back(stack: Stack, known: dict[str, str]) -> None:
    """The id as it stands in the list is one that `withdraw` takes."""
    listed = re.findall(r"\b[0-9a-f]{32}\b", in_terminal(stack, 80, "identity", "decisions", OMAR))
    assert listed[0] == known["DECISION"]
    assert "would be" in in_terminal(stack, 80, "identity", "withdraw", listed[0], "--reason", "no", "--preview")

"""What the page about wrong merges says works, and the drawings of the profile that it is about."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.e2e.conftest import Stack
from tests.e2e.test_readme import blocks

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "when-a-merge-was-wrong.md").read_text()
OMAR, INES = {"user_id:hubspot:12", "email:omar@example.com"}, {"user_id:hubspot:11", "email:ines@example.com"}
INES |= {"loyalty_card:4711", "phone:+4915127046318"}


@pytest.fixture(scope="module")
def contacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the page."""
    (text,) = blocks("csv", PAGE)
    file = tmp_path_factory.mktemp("merge") / "contacts.csv"
    file.write_text(text)
    return file


def steps(page: str = PAGE) -> Iterator[tuple[list[str], str]]:
    """The commands of a page, each with what it printed."""
    for block in blocks("console", page):
        for step in re.split(r"^\$ sima ", block, flags=re.MULTILINE)[1:]:
            command, _, said = step.partition("\n")
            yield shlex.split(command), said


def words(said: str) -> set[str]:
    """The words of an output, without ids and days, which differ each time, and without lines that only look nice."""
    text = re.sub(r"\b[0-9a-f]{32}(?:-\d+)?\b|\b[0-9a-f]{8}…", "ID", said)
    text = re.sub(r"just now|\d+ \w+ ago|\d{4}-\d{2}-\d{2}", "TIME", text)
    return set(re.sub(r"[─│├└╭╮╰╯]+", " ", text).split())


def moved(said: str) -> set[str]:
    """Who moves, by the table of an output."""
    return set(re.findall(r"^ (\w+:\S+) ", said, re.MULTILINE))


def test_every_command_of_the_page_prints_what_it_says(stack: Stack, contacts: Path) -> None:
    """From the import over the split to its withdrawal; which side keeps its profile is up to the keys."""
    known = {"contacts.csv": str(contacts)}
    listed = list(steps())
    assert len(listed) >= 12
    for command, said in listed:
        result = stack.sima("crm", *(known.get(word, word) for word in command))
        if "Who moves" in said:
            assert moved(result.output) in (OMAR, INES)
            assert words(said) - moved(said) == words(result.output) - moved(result.output)
        else:
            assert words(result.output) == words(said), command
        if found := re.search(r"Decision (\w{32});", result.output):
            known["DECISION"] = found[1]


def test_a_picture_is_written_to_a_file_or_to_the_standard_output(stack: Stack, contacts: Path, tmp_path: Path) -> None:
    """Both are the same, and XML with every identifier of the profile; JSON is another wish."""
    stack.json("crm", "import", "crm", str(contacts))
    command = ("identity", "graph", "email:ines@example.com")
    assert stack.sima("crm", *command, "--svg", str(tmp_path / "ines.svg")).stdout == ""
    picture = (tmp_path / "ines.svg").read_text()
    assert picture == stack.sima("crm", *command, "--svg", "-").stdout
    titles = {element.text for element in ET.fromstring(picture).iter("{http://www.w3.org/2000/svg}title")}  # noqa: S314
    assert {one["identifier"] for one in stack.json("crm", *command)["identifiers"]} <= titles
    assert "Folded" not in stack.sima("crm", *command).stdout
    assert "more identifier" in stack.sima("crm", *command, "--limit", "1").stdout
    both = stack.sima("crm", *command, "--svg", "-", "--json")
    assert (both.exit_code, both.stdout) == (2, "")
    nowhere = stack.sima("crm", *command, "--svg", str(tmp_path / "no" / "ines.svg"))
    assert nowhere.exit_code == 1
    assert "No such file" in nowhere.stderr

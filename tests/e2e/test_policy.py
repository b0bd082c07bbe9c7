"""The rules of identity through the commands alone, and from `sima.yaml` at the start."""

import json
import re
from pathlib import Path

import pytest
from sima_cli.commands import policy
from sima_cli.main import app
from typer.testing import CliRunner, Result

from tests.e2e.conftest import Stack, sources_yaml, up
from tests.e2e.test_readme import ROOT, blocks
from tests.e2e.test_wrong_merge import steps, words

PEOPLE = """\
Record ID,First Name,Email,Phone Number
1,Ines,ines@example.com,+49 151 27046318
2,Omar,omar@example.com,+49 151 27046318
3,Lea,lea@example.com,+49 151 27046318
"""
TIGHT = """\
identity:
  kinds:
    phone: {shared_above: 2, period: 36h}
  blocked:
    patterns: {email: ["till-[0-9]+@shop[.]example"]}
    values: ["email:Kiosk@Shop.example", "passport:X 123"]
"""
WRONG = (
    "identity: {kinds: {phone: {shared_above: 0}, shoe: {}}, blocked: {patterns: {email: [a, (b]}, values: [email:x]}}"
)


@pytest.fixture(scope="module")
def people(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Three contacts with one telephone, who are one person by the rules of the installation."""
    file = tmp_path_factory.mktemp("rules") / "contacts.csv"
    file.write_text(PEOPLE)
    assert stack.sima("rules", "import", "rules", str(file)).exit_code == 0


@pytest.fixture
def tight(tmp_path: Path) -> Path:
    """A file of rules by which the telephone is nobody's."""
    file = tmp_path / "sima.yaml"
    file.write_text(TIGHT)
    return file


def piped(stack: Stack, text: str, *arguments: str) -> Result:
    """Run a command with something at its standard input."""
    before = ["--data-dir", str(stack.data_dir), "--workspace", "rules"]
    return CliRunner().invoke(app, [*before, "identity", "policy", *arguments], input=text)


def test_rules_are_tried_out_set_shown_and_set_back(stack: Stack, people: None, tight: Path) -> None:
    """What a preview counted is what comes, and what is shown can be set as it stands."""
    assert stack.sima("rules", "identity", "policy", "show").stdout.startswith("# Version 0: nothing was ever set")
    effect = stack.json("rules", "identity", "policy", "preview", str(tight))
    counts = ("profiles_before", "profiles_after", "merges", "splits", "shared_after")
    assert [effect[name] for name in counts] == [1, 4, 0, 1, 1]
    [split] = effect["split_examples"]
    assert (len(split["before"]), len(split["after"])) == (1, 4)
    said = stack.sima("rules", "identity", "policy", "preview", str(tight)).stdout
    assert all(word in said for word in ("Splits, the largest first", "• ", "email:lea@example.com", "profiles"))
    wish = ("identity", "policy", "set", str(tight), "--reason", "a shop's\ntelephone: [nobody's]", "--actor", "ada")
    made = stack.json("rules", *wish, "--wait", "--request-id", "r1", "--expected-version", "0")
    assert (made["version"], made["actor"], made["request_id"]) == (1, "ada", "r1")
    assert made["applied_at"] is not None
    assert stack.json("rules", "profile", "get", "email:lea@example.com")["traits"].keys() >= {"first_name"}
    assert not stack.json("rules", "identity", "explain", "email:lea@example.com", "email:ines@example.com")["linked"]
    shown = stack.sima("rules", "identity", "policy", "show").stdout
    assert "set by ada" in shown.splitlines()[0]
    again = piped(stack, shown, "set", "-", "--reason", "again", "--wait", "--json")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["identity"] == made["identity"]
    assert stack.json("rules", "identity", "policy", "show", "--version", "1") == made
    back = piped(stack, "identity: {}", "set", "-", "--reason", "back", "--wait")
    assert "All that is stored is grouped under it since" in back.stdout
    shown = stack.sima("rules", "identity", "policy", "show", "--version", "1").stdout
    assert shown.splitlines()[1] == "# Version 3 is in force since."
    assert stack.json("rules", "identity", "explain", "email:lea@example.com", "email:ines@example.com")["linked"]


def test_who_began_with_another_version_is_refused(stack: Stack, tight: Path) -> None:
    """Exit code 3, and the version that is in force; so is a version that nobody set."""
    late = stack.sima("rules", "identity", "policy", "set", str(tight), "--reason", "x", "--expected-version", "77")
    assert (late.exit_code, "is in force, not the one you began with" in late.stderr) == (3, True)
    assert stack.sima("rules", "identity", "policy", "show", "--version", "777").exit_code == 3


@pytest.mark.parametrize("command", [("preview", "-"), ("set", "-", "--reason", "x")])
def test_what_the_service_refuses_is_told_as_a_place_in_the_file(stack: Stack, command: tuple[str, ...]) -> None:
    """All of it, at exit code 3, and no value; what is no file of rules at all has exit code 2."""
    refused = piped(stack, WRONG, *command)
    assert refused.exit_code == 3
    places = ("kinds.phone.shared_above", "kinds.shoe", "blocked.patterns.email[1]", "blocked.values[0]")
    for place in places:
        assert f"the standard input: identity.{place}: " in refused.stderr
    assert len(refused.stderr.splitlines()) == 1 + len(places)
    broken = piped(stack, "identity: {kinds: {phone: {shared_abov: 3}}}", *command)
    assert (broken.exit_code, "identity.kinds.phone.shared_abov: expected no such key" in broken.stderr) == (2, True)


def test_waiting_has_an_end(stack: Stack, people: None, tight: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits too long is told that the rules are in force, and how to learn of the rest; exit code 1."""
    monkeypatch.setattr(policy, "PATIENCE_SECONDS", 0.0)
    late = stack.sima("rules", "identity", "policy", "set", str(tight), "--reason", "x", "--wait")
    assert (late.exit_code, "is in force, but not yet all" in late.stderr) == (1, True)


def test_a_start_puts_the_rules_of_its_folder_in_force(own_folder: Path) -> None:
    """Once, not at every start; another file when it is named; and a file with mistakes ends the start with them."""
    sources, home = own_folder / "ruled.sources.yaml", own_folder / "ruled"
    sources.write_text(sources_yaml())
    home.mkdir()
    rules, output = home / "sima.yaml", home.with_suffix(".out")
    rules.write_text(TIGHT)
    with up(home, sources) as running:
        first = Stack(home).json(running.workspace, "identity", "policy", "show")
    assert (first["version"], first["actor"]) == (1, "sima.yaml")
    assert "sima.yaml are in force as version 1" in output.read_text()
    with up(home, sources) as running:
        assert Stack(home).json(running.workspace, "identity", "policy", "show")["version"] == 1
    assert "sima.yaml are in force already" in output.read_text()
    other = own_folder / "other.yaml"
    other.write_text("identity: {}")
    with up(home, sources, "--config", str(other)) as running:
        assert Stack(home).json(running.workspace, "identity", "policy", "show")["version"] == 2
    for mistake, told in {"identity: {kind: {}}": "identity.kind: expected no such key", WRONG: "kinds.shoe"}.items():
        rules.write_text(mistake)
        with pytest.raises(AssertionError, match=told), up(home, sources):
            pass


def test_every_command_of_the_page_prints_what_it_says(stack: Stack, tmp_path: Path) -> None:
    """With the files of the page; which identifiers stand for the others in an example is up to the keys."""
    page = (ROOT / "docs" / "identity.md").read_text()
    companies, rules = page.split("## The rules", 1)
    files = {"contacts.csv": blocks("csv", rules), "sima.yaml": blocks("yaml", page)}
    assert printed(stack, "page", rules, files, tmp_path) >= 3
    assert printed(stack, "companies", companies, {"colleagues.csv": blocks("csv", companies)}, tmp_path) == 2


def printed(stack: Stack, source: str, page: str, files: dict[str, list[str]], folder: Path) -> int:
    """Run the commands of a page with its files in a workspace; return how many there are."""
    known = {"crm": source}
    for name, (text,) in files.items():
        (folder / name).write_text(text)
        known[name] = str(folder / name)
    listed = list(steps(page))
    for command, said in listed:
        result = stack.sima(source, *(known.get(word, word) for word in command))
        assert told(result.output) == told(said.replace(" crm ", f" {source} ")), command
    return len(listed)


def told(said: str) -> set[str]:
    """The words of an output without identifiers and times of the day."""
    return words(re.sub(r"[a-z]+:[^\s,]+,?|\d\d:\d\d", "", said))

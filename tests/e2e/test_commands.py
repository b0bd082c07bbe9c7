"""The commands against a running Sima: what they print, what they answer programs, how they fail."""

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from sima_cli.main import app
from typer.testing import CliRunner

from tests.e2e.conftest import Stack

CONTACTS = """\
Record ID,First Name,Last Name,Email,City,Annual Revenue
1,Ada,Lovelace,ADA@example.com,London,1200
2,Grace,Hopper,grace@example.com,New York,800
3,سارة,العتيبي,sara@example.com,الرياض,2000
"""


@pytest.fixture(scope="module")
def contacts(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three contacts, imported by the command."""
    file = tmp_path_factory.mktemp("cli") / "contacts.csv"
    file.write_text(CONTACTS)
    result = stack.sima("cli", "import", "cli", str(file))
    assert result.exit_code == 0, result.output
    assert re.search(r"contacts\.csv\s+3\s+0\s+0\s+0\s+0", result.stdout)
    return file


@pytest.fixture
def segment(stack: Stack, contacts: Path) -> str:
    """A segment with two members, new for each test."""
    name = f"rich-{len(stack.json('cli', 'segment', 'list'))}"
    created = stack.json("cli", "segment", "create", name, "traits.annual_revenue > 1000.0", "--description", "Rich")
    assert created["size"] == 2
    return name


def test_a_profile_is_shown_as_a_card_and_as_json(stack: Stack, contacts: Path) -> None:
    """Any spelling of an identifier finds the person."""
    card = stack.sima("cli", "profile", "get", "email:Ada@Example.com").stdout
    assert all(word in card for word in ("Ada Lovelace", "London", "declared", "user_id hubspot:1"))
    profile = stack.json("cli", "profile", "get", "email:ada@example.com")
    assert profile["traits"]["city"]["values"][0]["source"] == "cli"
    assert stack.json("cli", "profile", "get", profile["profile_id"]) == profile


def test_events_of_a_person_without_any_are_an_empty_list(stack: Stack, contacts: Path) -> None:
    """No event is no error."""
    assert stack.json("cli", "profile", "events", "email:ada@example.com", "--name", "order_completed") == []


def test_segments_are_created_listed_shown_watched_and_deleted(stack: Stack, segment: str) -> None:
    """The life of a segment, through the commands alone."""
    assert segment in [each["name"] for each in stack.json("cli", "segment", "list")]
    assert stack.json("cli", "segment", "show", segment)["description"] == "Rich"
    assert "2 people" in stack.sima("cli", "segment", "show", segment).stdout
    members = {member["profile_id"] for member in stack.json("cli", "segment", "members", segment)}
    ada = stack.json("cli", "profile", "segments", "email:ada@example.com")
    assert ada["profile_id"] in members
    assert segment in [each["segment"] for each in ada["segments"]]
    assert len(stack.json("cli", "segment", "members", segment, "--limit", "1")) == 1
    watched = stack.sima("cli", "segment", "watch", segment, "--until-now", "--json").stdout.splitlines()
    assert {(change["profile_id"], change["change"]) for change in map(json.loads, watched)} == {
        (member, "entered") for member in members
    }
    assert stack.json("cli", "segment", "update", segment, "--rule", "traits.annual_revenue > 1500.0")["size"] == 1
    assert stack.sima("cli", "segment", "delete", segment).exit_code == 0
    gone = stack.sima("cli", "segment", "show", segment)
    assert gone.exit_code == 3
    assert segment in gone.stderr


def test_a_preview_counts_without_storing(stack: Stack, contacts: Path) -> None:
    """Arabic values in a rule find Arabic people."""
    before = stack.json("cli", "segment", "list")
    preview = stack.json("cli", "segment", "preview", 'traits.city == "الرياض"')
    assert (preview["size"], preview["problems"], len(preview["sample"])) == (1, [], 1)
    assert stack.json("cli", "segment", "list") == before


@pytest.mark.parametrize("arguments", [("preview",), ("create", "broken")])
def test_a_rule_that_does_not_compile_is_shown_with_its_mistakes_marked(
    stack: Stack, contacts: Path, arguments: tuple[str, ...]
) -> None:
    """Exit code 3, the rule, and a caret under the word that is wrong."""
    rule = 'traits.city == "x" && evnts("order_completed").exists()'
    result = stack.sima("cli", "segment", *arguments, rule)
    assert result.exit_code == 3
    lines = result.stderr.splitlines()
    place = next(number for number, line in enumerate(lines) if rule in line)
    assert lines[place + 1].index("^") == lines[place].index("evnts")
    assert "events" in result.stderr


def test_a_preview_as_json_tells_programs_of_the_problems(stack: Stack, contacts: Path) -> None:
    """The problems are in the answer, and the exit code says that there are some."""
    result = stack.sima("cli", "segment", "preview", "traits.city ==", "--json")
    assert result.exit_code == 3
    problem = json.loads(result.stdout)["problems"][0]
    assert problem["line"] == 1
    assert problem["message"]


def test_who_is_not_known_is_an_error_without_personal_data(stack: Stack, contacts: Path) -> None:
    """Exit code 3, and the address that was asked for is not repeated."""
    result = stack.sima("cli", "profile", "get", "email:nobody@example.com")
    assert result.exit_code == 3
    assert "Nobody is known by this email." in result.stderr
    assert "nobody@example.com" not in result.stderr


def test_bad_identifiers_are_explained(stack: Stack) -> None:
    """What is wrong with a field is said, with its path."""
    result = stack.sima("cli", "profile", "get", "email:no-address")
    assert result.exit_code == 3
    assert "e-mail address" in result.stderr


@pytest.mark.parametrize("command", ["get", "events", "segments"])
def test_a_phone_number_without_country_is_told_of_the_region(stack: Stack, command: str) -> None:
    """Exit code 3, and the option by which it can be read; with it there is nothing to mend."""
    number = "phone:0912 345 6789"
    result = stack.sima("cli", "profile", command, number)
    assert result.exit_code == 3
    assert "needs --region" in result.stderr
    assert "mended" not in stack.sima("cli", "profile", command, number, "--region", "IR").stderr


def test_a_source_without_a_token_is_told_from_one_that_takes_no_files(stack: Stack, contacts: Path) -> None:
    """Who forgot the token of a source learns what to write, not that there is no such source."""
    untold, pushed = (stack.sima("cli", "import", source, str(contacts)) for source in ("untold", "shopify"))
    assert "'untold' has no `import_token` in its secrets" in untold.stderr
    assert "'shopify' is no source that takes files" in pushed.stderr


def test_importing_again_changes_nothing(stack: Stack, contacts: Path) -> None:
    """All facts are known the second time."""
    counts = stack.json("cli", "import", "cli", str(contacts))[0]
    assert (counts["accepted"], counts["duplicates"]) == (0, 3)


def test_a_file_of_which_nothing_is_taken_is_an_error_with_reasons(stack: Stack, tmp_path: Path) -> None:
    """Exit code 3; the first three are named by record and reason, never by value, with the place that has the rest."""
    file = tmp_path / "nobody.csv"
    file.write_text("Email,City\n" + "".join(f",Atlantis{number}\n" for number in range(5)))
    for _ in range(2):  # what was refused before is refused with its reason again
        result = stack.sima("cli", "import", "cli", str(file))
        assert result.exit_code == 3
        assert re.search(r"nobody\.csv\s+0\s+0\s+0\s+0\s+5", result.stdout)
        assert re.findall(r"nobody\.csv, record (\d): id: expected", result.stderr) == ["1", "2", "3"]
        assert f"{stack.collector}/refusals?source=cli" in result.stderr
        assert "Atlantis" not in result.stderr


def test_of_a_file_that_is_taken_in_part_the_rest_is_told(stack: Stack, contacts: Path, tmp_path: Path) -> None:
    """Exit code 0, and the reason of this file alone."""
    file = tmp_path / "partly.csv"
    file.write_text("Email,City\n,Nowhere\npartly@example.com,Berlin\n")
    result = stack.sima("cli", "import", "cli", str(file), "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)[0]["refused"] == 1
    assert result.stderr.count("record") == 1


def test_a_file_that_is_refused_keeps_no_other_back(stack: Stack, contacts: Path, tmp_path: Path) -> None:
    """Exit code 3 and the name of the file; those before and behind it are taken."""
    files = {"first": "Email\nfirst@example.com\n", "odd": "Weather\nfine\n", "last": "Email\nlast@example.com\n"}
    for name, text in files.items():
        (tmp_path / f"{name}.csv").write_text(text)
    result = stack.sima("cli", "import", "cli", *(str(tmp_path / f"{name}.csv") for name in files), "--json")
    assert result.exit_code == 3
    assert [(one["file"], one["accepted"]) for one in json.loads(result.stdout)] == [("first.csv", 1), ("last.csv", 1)]
    assert "odd.csv: Not taken: file: expected" in result.stderr


def test_a_conflict_is_told(stack: Stack, tmp_path: Path) -> None:
    """The same purchase with another amount is no success that nobody needs to know of."""
    file = tmp_path / "till.csv"
    for amount in ("12.50", "99.99"):
        file.write_text(f"receipt,customer_id,date,amount\nR-1,7,2026-01-05T10:00:00,{amount}\n")
        result = stack.sima("cli", "import", "till", str(file))
        assert result.exit_code == 0, result.output
    assert "1 in conflict" in result.stderr
    assert "Conflicts" in result.stderr


def test_an_identifier_that_was_left_out_is_told(stack: Stack, contacts: Path, tmp_path: Path) -> None:
    """A contact whose phone number has no country is taken without it, and the reason is shown."""
    file = tmp_path / "local.csv"
    file.write_text("Email,City,Phone Number\nlocal@example.com,Berlin,0151 2345678\n")
    result = stack.sima("cli", "import", "cli", str(file))
    assert result.exit_code == 0
    assert re.search(r"local\.csv\s+1\s+0\s+0\s+0\s+0\s+1", result.stdout)
    assert "1 taken without an identifier that cannot be read" in result.stderr
    assert "phone" in result.stderr
    assert "2345678" not in result.stderr


def test_an_unknown_source_is_explained(stack: Stack, contacts: Path) -> None:
    """The sources that take files are named."""
    result = stack.sima("cli", "import", "elsewhere", str(contacts))
    assert result.exit_code == 3
    assert "hubspot" in result.stderr


def test_a_file_that_is_no_table_is_refused_with_the_reason(stack: Stack, tmp_path: Path) -> None:
    """Nothing of it becomes a fact."""
    file = tmp_path / "empty.csv"
    file.write_bytes(b"")
    result = stack.sima("cli", "import", "cli", str(file))
    assert result.exit_code == 3
    assert "first line" in result.stderr


def test_where_nothing_runs_the_commands_say_how_to_start(tmp_path: Path) -> None:
    """Neither an address nor a running Sima: exit code 1."""
    result = CliRunner().invoke(app, ["--data-dir", str(tmp_path), "profile", "get", "email:ada@example.com"])
    assert result.exit_code == 1
    assert "sima up" in result.stderr


def test_a_service_that_does_not_answer_is_exit_code_4(tmp_path: Path) -> None:
    """Addresses may be given; what is not there is said."""
    arguments = ["--data-dir", str(tmp_path), "--segment", "127.0.0.1:9", "segment", "list"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 4
    assert "segment does not answer" in result.stderr


def test_addresses_reach_a_deployment_without_its_data_directory(stack: Stack, contacts: Path, tmp_path: Path) -> None:
    """With address and workspace from the environment, no data directory is needed."""
    assert stack.running is not None
    environment = {"SIMA_PROFILE_ADDRESS": stack.running.profile, "SIMA_WORKSPACE": "cli"}
    arguments = ["--data-dir", str(tmp_path), "profile", "get", "email:ada@example.com", "--json"]
    result = CliRunner().invoke(app, arguments, env=environment)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["traits"]["last_name"]["values"][0]["value"] == "Lovelace"


def test_a_second_up_in_the_same_folder_is_refused(stack: Stack) -> None:
    """Two databases in one folder would be none."""
    result = stack.sima("cli", "up")
    assert result.exit_code == 1
    assert "running" in result.stderr


def test_nobody_else_reads_what_is_in_the_data_directory(stack: Stack) -> None:
    """Folders with data are closed while everything runs; nobody else can list the one above them."""
    open_to_others = {path.name: path.stat().st_mode & 0o077 for path in stack.data_dir.iterdir() if path.is_dir()}
    assert open_to_others == dict.fromkeys(("collector", "logs", "postgres", "segment"), 0)
    assert stack.data_dir.stat().st_mode & 0o066 == 0


def install(folder: Path, distribution: str, hook: str) -> None:
    """Leave in a folder what pip leaves of a plugin `made-up` that has one hook."""
    (folder / f"{distribution}.py").write_text(f"from sima_sdk import hookimpl\n@hookimpl\ndef {hook}(): return []\n")
    info = folder / f"{distribution}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[sima]\nmade-up = {distribution}\n")


@pytest.mark.parametrize(
    ("plugins", "named"),
    [
        ({"made_up": "register_conectors"}, "register_conectors"),
        ({"made_up_a": "register_connectors", "made_up_b": "register_connectors"}, "two plugins are called made-up"),
    ],
    ids=["a misspelt hook", "two of one name"],
)
def test_a_broken_plugin_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plugins: dict[str, str], named: str
) -> None:
    """Exit code 1 and what is wrong with which plugin, not a traceback."""
    for distribution, hook in plugins.items():
        install(tmp_path, distribution, hook)
    monkeypatch.syspath_prepend(tmp_path)
    result = CliRunner().invoke(app, ["plugins"])
    assert result.exit_code == 1
    assert named in " ".join(result.stderr.lower().split())


def test_plugins_are_listed_with_what_they_bring() -> None:
    """Connectors with their entrances, functions with what they say."""
    result = CliRunner().invoke(app, ["plugins", "--json"])
    found = json.loads(result.stdout)
    assert {"pixel", "pos", "social", "crm", "rfm"} <= {plugin["name"] for plugin in found["plugins"]}
    entrances = {connector["name"]: connector["entrances"] for connector in found["connectors"]}
    assert entrances["shopify"] == "POST /in/SOURCE"
    assert entrances["contacts"] == "sima import SOURCE FILE"
    assert "rfm.score" in {function["name"] for function in found["functions"]}


@pytest.mark.parametrize(
    "command",
    [[], ["up"], ["demo"], ["import"], ["plugins"], ["profile", "get"], ["profile", "events"], ["profile", "segments"]]
    + [["segment", verb] for verb in ("create", "update", "preview", "list", "show", "members", "delete", "watch")]
    + [["identity", verb] for verb in ("explain", "graph", "decisions", "split", "never", "always", "withdraw")]
    + [["identity", verb] for verb in ("history", "shared", "hubs", "growth", "affiliations", "erase", "erasures")]
    + [["identity", "policy", verb] for verb in ("show", "preview", "set")],
)
def test_every_command_has_help_with_an_example(command: list[str]) -> None:
    """`--help` everywhere, and a line to copy."""
    result = CliRunner().invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    assert "Example" in result.stdout or "Exit codes" in result.stdout


MERGED = """\
Record ID,First Name,Email,Phone Number
11,Ines,ines@example.com,+49 151 27046318
12,Omar,omar@example.com,+49 151 27046318
"""


def test_a_wrong_merge_is_explained_taken_back_and_decided_otherwise(stack: Stack, tmp_path: Path) -> None:
    """A telephone that two contacts have in common made one person of them; everything through the commands alone."""
    file = tmp_path / "merged.csv"
    file.write_text(MERGED)
    assert stack.sima("cli", "import", "cli", str(file)).exit_code == 0
    ines, omar, phone = "email:ines@example.com", "email:omar@example.com", "phone:+4915127046318"
    why = stack.json("cli", "identity", "explain", ines, omar)
    assert why["linked"]
    assert [link["evidence"][0]["source"] for link in why["chain"]] == ["cli", "cli"]
    assert "They are one person" in stack.sima("cli", "identity", "explain", ines, omar).stdout
    others = ("--from", ines, "--from", phone, "--from", "user_id:hubspot:11")
    wrong = ("identity", "split", omar, "user_id:hubspot:12", *others, "--reason", "one telephone, two people")
    shown = stack.json("cli", *wrong, "--preview")
    assert shown["decision"]["id"] is None
    assert "Who moves" in stack.sima("cli", *wrong, "--preview").stdout
    made = stack.json("cli", *wrong, "--actor", "support")
    assert made["changes"] == shown["changes"] != []
    assert stack.json("cli", "profile", "get", omar)["traits"]["first_name"]["values"][0]["value"] == "Omar"
    assert stack.json("cli", "profile", "get", ines)["traits"]["first_name"]["values"][0]["value"] == "Ines"
    apart = stack.json("cli", "identity", "explain", ines, omar)
    assert (apart["linked"], {link["refusal"] for link in apart["chain"]}) == (False, {None, "never_link"})
    assert "decided to be apart" in stack.sima("cli", "identity", "graph", omar).stdout
    [listed] = stack.json("cli", "identity", "decisions", omar)
    assert (listed["actor"], listed["reason"]) == ("support", "one telephone, two people")
    contrary = stack.sima("cli", "identity", "always", ines, omar, "--reason", "or are they")
    assert contrary.exit_code == 3
    assert listed["id"] in contrary.stderr
    withdraw = ("identity", "withdraw", listed["id"], "--actor", "support", "--reason")
    assert "Nothing is decided" in stack.sima("cli", *withdraw, "married", "--preview").stdout
    assert "is taken back." in stack.sima("cli", *withdraw, "married").stdout
    assert "is taken back." in stack.sima("cli", *withdraw, "married").stdout
    assert "taken back before, by support: married" in stack.sima("cli", *withdraw, "for another reason").stdout
    assert stack.json("cli", "identity", "explain", ines, omar)["linked"]
    moved = made["changes"][0]["identifier"]  # of the two, who got the younger id
    history = stack.json("cli", "identity", "history", moved)
    assert [one["cause"] for one in history] == ["evidence", "decision", "decision"]
    assert (history[0]["previous_profile_id"], history[1]["actor"]) == (None, "support")
    assert [one["withdrawn"] for one in history] == [False, False, True]
    assert f"decision {listed['id']} taken back" in stack.sima("cli", "identity", "history", moved).stdout
    then = stack.json("cli", "identity", "history", moved, "--known-at", history[1]["changed_at"])
    assert then["profile_id"] == history[1]["profile_id"]
    assert len({ines, omar}.difference(one["identifier"] for one in then["identifiers"])) == 1
    was = stack.json("cli", "identity", "history", moved, "--true-at", "2200-01-01")
    assert was["profile_id"] == history[2]["profile_id"]
    assert {ines, omar}.issubset(one["identifier"] for one in was["identifiers"])
    assert moved in stack.sima("cli", "identity", "history", moved, "--true-at", "2200-01-01").stdout


def test_what_makes_no_sense_about_people_is_refused(stack: Stack, tmp_path: Path) -> None:
    """A moment, an identifier or an actor that is none; and who was never seen is named."""
    file = tmp_path / "known.csv"
    file.write_text("Record ID,First Name,Email\n51,Nia,nia@example.com\n52,Kai,kai@example.com\n")
    assert stack.sima("cli", "import", "cli", str(file)).exit_code == 0
    nia, kai = "email:nia@example.com", "email:kai@example.com"
    for option in ("--at", "--known-at", "--true-at"):
        assert "nothing of it then" in stack.sima("cli", "identity", "history", nia, option, "2000-01-01").stdout
        assert stack.sima("cli", "identity", "history", nia, option, "yesterday").exit_code == 3
    both = stack.sima("cli", "identity", "history", nia, "--known-at", "2026-01-01", "--true-at", "2026-01-01")
    assert both.exit_code == 2
    unseen = stack.sima("cli", "identity", "never", nia, "email:nobody@example.com", "--reason", "test")
    assert (unseen.exit_code, "never seen email:nobody@example.com" in unseen.stderr) == (3, True)
    assert "never seen" in stack.sima("cli", "identity", "history", "email:nobody@example.com").stdout
    assert stack.sima("cli", "identity", "explain", nia, "nonsense").exit_code == 3
    nobody = stack.sima("cli", "identity", "never", nia, kai, "--reason", "test", "--actor", "")
    assert (nobody.exit_code, "deciding.actor" in nobody.stderr) == (3, True)


def test_a_phone_that_many_have_is_listed_as_a_hub(stack: Stack, tmp_path: Path) -> None:
    """Sixty contacts with the phone of their call centre: shared, a hub, and marked, for it came within a day."""
    file = tmp_path / "centre.csv"
    rows = (f"{100 + number},Caller,caller{number}@example.com,+49 30 901820" for number in range(60))
    file.write_text("\n".join(["Record ID,First Name,Email,Phone Number", *rows]))
    assert stack.sima("cli", "import", "cli", str(file)).exit_code == 0

    phone = "phone:+4930901820"
    deadline = time.monotonic() + 60
    while (hub := listed(stack, phone, "hubs")) is None or hub["degree"]["identifiers"] < 120:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert (hub["hub"], hub["degree"]["profiles"]) == (True, 60)
    assert phone in stack.sima("cli", "identity", "hubs").stdout
    shared = listed(stack, phone, "shared", "--reason", "hub")
    assert shared is not None
    assert (shared["reason"], shared["degree"]) == ("hub", hub["degree"])
    assert f"{phone} ⚠" in stack.sima("cli", "identity", "shared").stdout
    assert listed(stack, phone, "shared", "--reason", "several_people") is None
    grown = listed(stack, phone, "growth")
    assert grown is not None
    assert grown["gained"] == 120
    assert phone in stack.sima("cli", "identity", "growth").stdout


def listed(stack: Stack, identifier: str, *command: str) -> dict[str, Any] | None:
    """What a list of `sima identity` says of one identifier."""
    found = stack.json("cli", "identity", *command)
    return next((one for one in found if one["identifier"] == identifier), None)


def test_who_is_erased_is_unknown_and_what_comes_late_is_refused(stack: Stack, tmp_path: Path) -> None:
    """By the command, for good; the same file again brings nothing of them back, and of it only the size is kept."""
    file = tmp_path / "vera.csv"
    file.write_text("Email,City\nvera@erased.example,Kyiv\n")
    assert stack.sima("cli", "import", "cli", str(file)).exit_code == 0
    erase = ("identity", "erase", "email:vera@erased.example", "--reason", "she asked for it")
    done = stack.json("cli", *erase, "--yes")
    assert (done["identifiers_erased"], done["changes"]) == (1, [])
    late = stack.sima("cli", "import", "cli", str(file))
    assert late.exit_code == 3
    assert "Of facts about the erased only the size is kept." in late.stderr
    asked = stack.sima("cli", *erase)
    assert asked.exit_code == 1  # nobody said yes
    assert "identifiers would go" in asked.stderr
    again = stack.sima("cli", *erase, "--yes", "--request-id", "r1")
    assert "refused" in again.stdout


def test_who_had_whom_erased_is_listed(stack: Stack) -> None:
    """Newest first, as a table and as JSON; whose the identifiers were stands nowhere."""
    by = ("--actor", "dpo", "--reason", "case 17")
    for number in (1, 2):
        erase = ("identity", "erase", f"email:v{number}@erased.example", *by, "--request-id", f"case-17-{number}")
        assert stack.sima("cli", *erase, "--yes").exit_code == 0
    newest, older = stack.json("cli", "identity", "erasures", "--limit", "2")
    assert (newest["request_id"], older["request_id"]) == ("case-17-2", "case-17-1")
    assert (newest["actor"], newest["reason"], newest["identifiers_erased"]) == ("dpo", "case 17", 0)
    shown = stack.sima("cli", "identity", "erasures", "--limit", "1")
    assert all(word in shown.stdout for word in ("dpo", "case 17", "case-17-2"))
    assert "case-17-1" not in shown.stdout
    assert "There are more" in shown.stderr
    assert "erased.example" not in shown.output


def test_colleagues_and_their_company_are_listed(stack: Stack, tmp_path: Path) -> None:
    """From a file of the CRM: two people who belong to one company and stay two, in both directions and as JSON."""
    file = tmp_path / "colleagues.csv"
    file.write_text(
        "Record ID,Email,Primary Associated Company ID\n31,zoe@example.com,900\n32,kim@example.com,900;901\n"
    )
    assert stack.sima("cli", "import", "cli", str(file)).exit_code == 0
    company, zoe = "account_id:hubspot:900", "email:zoe@example.com"
    told = stack.json("cli", "identity", "affiliations", company)
    assert {one["person"] for one in told if one["person"].startswith("email:")} == {zoe, "email:kim@example.com"}
    assert len({one["profile_id"] for one in told}) == 2
    assert {one["evidence"][0]["source"] for one in told} == {"cli"}
    assert {one["account"] for one in stack.json("cli", "identity", "affiliations", zoe)} == {company}
    shown = stack.sima("cli", "identity", "affiliations", company).stdout
    assert zoe in shown
    assert "People: 2. Companies: 1." in shown
    refused = stack.sima("cli", "identity", "always", zoe, company, "--reason", "they work there")
    assert refused.exit_code != 0
    assert "all of people, or all of companies" in refused.stderr

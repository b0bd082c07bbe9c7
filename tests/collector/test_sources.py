"""The file of sources: what it may say, and how its mistakes are named."""

import json
from pathlib import Path

import pytest
from sima_collector.errors import FixSourcesError
from sima_collector.sources import read_sources


def written(folder: Path, text: str) -> Path:
    """A file of sources with this text."""
    path = folder / "sources.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(folder: Path, text: str) -> tuple[str, ...]:
    """What reading this text complains about."""
    with pytest.raises(FixSourcesError) as caught:
        read_sources(written(folder, text))
    return caught.value.problems


def test_a_source_is_read_with_its_secrets_by_value_and_by_file(tmp_path: Path) -> None:
    """Secrets may stand in the file or beside it, and the end of line of a secret's file is no part of it."""
    (tmp_path / "webhook").write_text("from-file\n")
    text = """
    sources:
      - name: shop-riyadh
        workspace: main
        connector: shopify
        default_region: SA
        secrets:
          webhook: {file: webhook}
          import_token: {value: by-value}
        options: {currency: SAR}
    """
    configured = read_sources(written(tmp_path, text))["shop-riyadh"]
    assert (configured.workspace, configured.connector) == ("main", "shopify")
    assert configured.source.default_region == "SA"
    assert configured.source.secrets == {"webhook": "from-file", "import_token": "by-value"}
    assert configured.source.options == {"currency": "SAR"}


def test_a_source_says_whether_rejected_payloads_are_kept(tmp_path: Path) -> None:
    """One that says nothing leaves it to what its connector can send."""
    text = """
    sources:
      - {name: a, workspace: main, connector: api, keep_rejected: true}
      - {name: b, workspace: main, connector: api}
    """
    assert [source.keep_rejected for source in read_sources(written(tmp_path, text)).values()] == [True, None]


def test_json_is_read_too(tmp_path: Path) -> None:
    """A program may write the file with any JSON library."""
    text = json.dumps({"sources": [{"name": "web", "workspace": "main", "connector": "pixel"}]}, indent="\t")
    assert list(read_sources(written(tmp_path, text))) == ["web"]


def test_no_sources_at_all_is_a_valid_file(tmp_path: Path) -> None:
    """A fresh deployment starts before anybody configured a channel."""
    assert read_sources(written(tmp_path, "sources: []")) == {}


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    """Each mistake comes with its place, so that one look at the file is enough to mend it."""
    text = """
    sources:
      - name: Shop Riyadh
        workspace: main
        connector: pos
        colour: red
      - workspace: main
        connector: pos
        default_region: NO
    """
    found = problems(tmp_path, text)
    assert [problem.split(":")[0] for problem in found] == [
        "sources[0].name",
        "sources[0].colour",
        "sources[1].name",
        "sources[1].default_region",
    ]


@pytest.mark.parametrize("region", ["UK", "ZZ", "Germany", "de", "''"])
def test_a_region_is_one_in_which_phone_numbers_are_read(tmp_path: Path, region: str) -> None:
    """With another no local number could be read, and nobody would know why."""
    text = f"sources: [{{name: a, workspace: main, connector: x, default_region: {region}}}]"
    expected = "expected a region of ISO 3166 that has phone numbers, such as GB or SA"
    assert problems(tmp_path, text) == (f"sources[0].default_region: {expected}",)


def test_mistakes_in_secrets_and_names_are_named_at_once(tmp_path: Path) -> None:
    """A missing file, an empty one, a secret without content and a name used twice are all reported."""
    (tmp_path / "empty").write_text("\n")
    text = """
    sources:
      - {name: a, workspace: main, connector: x, secrets: {one: {file: absent}, two: {file: empty}, three: {}}}
      - {name: a, workspace: other, connector: x}
    """
    assert problems(tmp_path, text) == (
        "sources[0].secrets.one.file: cannot be read (FileNotFoundError)",
        "sources[0].secrets.two.file: is empty",
        "sources[0].secrets.three: expected either value or file",
        "sources: 2 have the name a",
    )


def test_a_mistake_never_repeats_a_secret(tmp_path: Path) -> None:
    """What stands in the file stays in the file."""
    text = "sources: [{name: a, workspace: main, connector: x, secrets: {token: {value: 12345678}, other: hunter2}}]"
    found = "".join(problems(tmp_path, text))
    assert "12345678" not in found
    assert "hunter2" not in found


@pytest.mark.parametrize("text", ["", "null", "- a", "a", "1"])
def test_what_is_no_mapping_is_told_what_is_expected(tmp_path: Path, text: str) -> None:
    """In words of the file, not of the program that reads it; so is a source that is none."""
    assert problems(tmp_path, text) == ("expected a mapping with the key sources",)
    assert problems(tmp_path, "sources: [a]") == ("sources[0]: expected a mapping",)


@pytest.mark.parametrize("text", ["sources: [", "", "- a", "sources: {a: b}"])
def test_a_file_of_another_form_is_refused_with_its_name(tmp_path: Path, text: str) -> None:
    """Broken YAML, nothing, and a list are mistakes like any other."""
    with pytest.raises(FixSourcesError, match=r"sources\.yaml"):
        read_sources(written(tmp_path, text))


def test_an_absent_file_is_refused_with_its_name(tmp_path: Path) -> None:
    """Whoever mounts the wrong path reads which one."""
    with pytest.raises(FixSourcesError, match=r"nowhere\.yaml"):
        read_sources(tmp_path / "nowhere.yaml")

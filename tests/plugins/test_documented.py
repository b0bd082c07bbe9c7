"""The page about sources says what each option of Sima's own connectors means."""

import re
from pathlib import Path

import pytest
from sima_sdk.files import CSV_OPTIONS
from sima_sdk.plugins import connectors, plugin_manager

PAGE = (Path(__file__).parents[2] / "docs" / "sources.md").read_text()
CONNECTORS = connectors(plugin_manager())


def section(name: str) -> str:
    """What stands under the heading that names a connector."""
    (found,) = [part for part in re.split(r"^## ", PAGE, flags=re.MULTILINE) if name in part.partition("\n")[0]]
    return found


def explained(text: str) -> set[str]:
    """The options in the tables of a text; of a family its beginning."""
    cells = re.findall(r"^\| (`.+?`) \|", text, re.MULTILINE)
    return {re.sub(r"<.*>", "", name) for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


@pytest.mark.parametrize("name", CONNECTORS)
def test_every_option_of_a_connector_is_explained_and_no_other(name: str) -> None:
    """Those of all CSV files once, in a table of their own."""
    options = set(CONNECTORS[name].options or ())
    common = explained(section("All CSV files"))
    assert common == set(CSV_OPTIONS)
    assert explained(section(f"`{name}`")) == options - common
    assert not common & options or "The four options of all CSV files" in section(f"`{name}`")

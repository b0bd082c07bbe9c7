"""What is checked of a source before its connector sees it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sima_sdk.connectors import Page, PullConnector, Source, check_kinds
from sima_sdk.errors import FixConfigurationError


class Files(PullConnector):
    """Its sources name columns by kinds of identifiers."""

    name = "files"
    options: tuple[str, ...] | None = ("id", "identifier.", "trait.")

    def pull(self, source: Source, file: Path, checkpoint: str = "") -> Iterator[Page]:
        """Yield nothing."""
        yield from ()


def test_an_option_for_a_kind_of_identifier_names_one_that_is_known() -> None:
    """Else every identifier of that column would be lost; a plugin's kind is as good as any."""
    options = {"id": "Id", "trait.emial": "Mail", "identifier.tax_number": "Tax"}
    check_kinds(Files(), Source("crm", options=options), ["tax_number", "email"])
    misspelt = Source("crm", options={"identifier.emial": "Mail"})
    expected = r"source crm, option identifier\.emial: expected a kind of identifier: email, tax_number$"
    with pytest.raises(FixConfigurationError, match=expected):
        check_kinds(Files(), misspelt, ["tax_number", "email"])


@pytest.mark.parametrize("options", [None, ("identifier.emial",)])
def test_options_that_only_look_like_kinds_are_left_alone(options: tuple[str, ...] | None) -> None:
    """A connector that names no family of them may mean something else."""
    connector = Files()
    connector.options = options
    check_kinds(connector, Source("crm", options={"identifier.emial": "Mail"}), ["email"])

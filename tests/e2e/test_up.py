"""`sima up`, from one start to the next."""

from pathlib import Path

import pytest

from tests.e2e.conftest import sources_yaml, up


def test_a_start_that_fails_costs_no_webhook_its_address(own_folder: Path) -> None:
    """The collector listens where it did before a typo in its sources."""
    sources = own_folder / "later.yaml"
    sources.write_text(sources_yaml())
    with up(own_folder / "later", sources) as first:
        pass
    sources.write_text(sources_yaml().replace("connector: shopify", "connector: shopfy"))
    with pytest.raises(AssertionError, match="shopfy"), up(own_folder / "later", sources):
        pass
    sources.write_text(sources_yaml())
    with up(own_folder / "later", sources) as again:
        assert again.collector == first.collector

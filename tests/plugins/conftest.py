"""What the tests of the plugins share."""

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data beside the checkout; tests that need it are skipped only where there is none."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real data lies in {SHARED_DATA.name}, a folder beside the checkout, which is not there")
    return SHARED_DATA

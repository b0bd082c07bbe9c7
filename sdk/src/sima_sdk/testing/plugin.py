"""Pytest plugin of the contract suites; active wherever sima-sdk is installed (off: `-p no:sima_sdk_testing`)."""

import pytest

pytest.register_assert_rewrite("sima_sdk.testing.push", "sima_sdk.testing.pull", "sima_sdk.testing.functions")

MUTATIONS_OPTION = "--sima-mutations"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a hurried run send fewer mutated payloads."""
    parser.addoption(
        MUTATIONS_OPTION, type=int, default=10_000, help="mutated payloads that each connector's suite sends (10000)"
    )


@pytest.fixture(scope="session")
def sima_mutations(request: pytest.FixtureRequest) -> int:
    """How many mutated payloads each connector gets."""
    count: int = request.config.getoption(MUTATIONS_OPTION)
    return count

"""Pytest plugin of the contract suites; active wherever sima-sdk is installed (off: `-p no:sima_sdk_testing`)."""

import pytest

for suite in ("contract", "functions", "kinds", "pull", "push", "soundness"):
    pytest.register_assert_rewrite(f"sima_sdk.testing.{suite}")

MUTATIONS_OPTION = "--sima-mutations"
SEED_OPTION = "--sima-seed"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a hurried run send fewer mutated payloads, and a long one others."""
    group = parser.getgroup("sima")
    group.addoption(MUTATIONS_OPTION, type=int, default=10_000, help="mutated payloads for each connector (10000)")
    group.addoption(SEED_OPTION, type=int, default=1, help="another number, other mutations (1)")

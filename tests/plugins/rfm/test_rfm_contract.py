"""Each function of the plugin keeps the promises of a segment function."""

import pytest
from sima_plugin_rfm.scores import FUNCTIONS
from sima_sdk.testing.functions import FunctionSubject, SegmentFunctionContract

BY_NAME = {function.name: function for function in FUNCTIONS}


class TestRecency(SegmentFunctionContract):
    """The function `rfm.recency`."""

    @pytest.fixture
    def subject(self) -> FunctionSubject:
        """Calls with none, some and all arguments."""
        calls = ((), ("order",), ("شراء", "52w"), ('it is "quoted" \\ (', "90d"))
        return FunctionSubject(BY_NAME["rfm.recency"], calls, ((3.0,), ("",), ("order", "soon"), ("order", "5s")))


class TestFrequency(SegmentFunctionContract):
    """The function `rfm.frequency`."""

    @pytest.fixture
    def subject(self) -> FunctionSubject:
        """Calls with none, some and all arguments."""
        calls = ((), ("order", "30d"), ("order", "30d", 3), ("order", "30d", 2.5))
        wrong = ((True,), ("order", "30d", 0), ("order", "30d", -1), ("order", "30d", "many"), ("order", "30d", True))
        return FunctionSubject(BY_NAME["rfm.frequency"], calls, wrong)


class TestMonetary(SegmentFunctionContract):
    """The function `rfm.monetary`."""

    @pytest.fixture
    def subject(self) -> FunctionSubject:
        """Calls with none, some and all arguments."""
        calls = ((), ("order", "price"), ("order", 'a "b"', "30d", 50_000_000))
        return FunctionSubject(BY_NAME["rfm.monetary"], calls, (("order", ""), ("order", 1), ("o", "p", "30d", 0.0)))


class TestScore(SegmentFunctionContract):
    """The function `rfm.score`."""

    @pytest.fixture
    def subject(self) -> FunctionSubject:
        """Calls with none, some and all arguments."""
        calls = ((), ("order",), ("order", "price", "180d", 4, 200.0))
        return FunctionSubject(BY_NAME["rfm.score"], calls, (("order", "price", "never"), ("o", "p", "9d", 1, -5)))

"""Rules are read with the functions that plugins brought."""

import threading
from unittest.mock import AsyncMock, Mock

from sima_sdk.rules import SegmentFunction
from sima_segment.rulebook import RuleBook
from sima_segment.segments import Segments

RULE = "plugin.function()"


async def test_rules_are_read_beside_the_event_loop() -> None:
    """Large ones take long, and code of plugins takes as long as it wants; nobody else waits for them."""
    threads: list[threading.Thread] = []

    def expand() -> str:
        threads.append(threading.current_thread())
        return "true"

    rules = RuleBook({"plugin.function": SegmentFunction("plugin.function", "", expand)})
    segments = Segments(Mock(), Mock(follow=AsyncMock()), rules)
    segments.get = AsyncMock(return_value=Mock(rule=RULE, description=""))  # type: ignore[method-assign]
    await segments.preview("w", RULE, 1)
    await segments.create("w", "name", RULE, "")
    assert len(threads) == 2
    assert threading.current_thread() not in threads

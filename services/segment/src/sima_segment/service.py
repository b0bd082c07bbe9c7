"""Puts the parts of the segment service together; `__main__` serves them, tests start them beside each other."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import structlog
from sima.segment.v1 import segment_service_pb2 as pb
from sima.segment.v1.segment_service_pb2_grpc import add_SegmentServiceServicer_to_server
from sima_runtime.clients import ServiceClient
from sima_runtime.database import Database
from sima_runtime.feeds import Feed
from sima_runtime.server import Servicer
from sima_runtime.supervision import Background
from sima_runtime.wakeups import Wakeups
from sima_sdk.plugins import loaded, plugin_manager, segment_functions

from sima_segment.inputs import Facts, Grouping
from sima_segment.live import Live, Surroundings
from sima_segment.projection import owned
from sima_segment.rulebook import RuleBook
from sima_segment.segments import Segments
from sima_segment.servicer import SegmentServicer
from sima_segment.settings import SegmentSettings
from sima_segment.store import FEED
from sima_segment.workspaces import Workspaces

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Service:
    """The parts that a server needs.

    Attributes:
        servicer: What is served.
        background: What is done beside.
        wakeups: Closed when the service stops, which ends the streams.
    """

    servicer: Servicer
    background: tuple[Background, ...]
    wakeups: Wakeups


def now() -> datetime:
    """The instant at which segments are evaluated."""
    return datetime.now(UTC)


def rule_book(settings: SegmentSettings) -> RuleBook:
    """Return the reader of rules, with the functions of the plugins.

    Raises:
        FixConfigurationError: A plugin is wrong.
    """
    manager = plugin_manager(settings.plugins)
    for plugin in loaded(manager):
        _log.info("plugin_loaded", plugin=plugin.name, distribution=plugin.distribution, version=plugin.version)
    return RuleBook(segment_functions(manager))


@asynccontextmanager
async def assembled(settings: SegmentSettings, clock: Callable[[], datetime] = now) -> AsyncIterator[Service]:
    """Give the parts of the service, ready to be served; their connections are closed at the end.

    Args:
        settings: All settings.
        clock: Tells the instant of evaluation, with time zone.

    Raises:
        FixConfigurationError: A setting or a plugin is wrong.
    """
    rules = rule_book(settings)
    with owned(settings.data_dir):
        database = Database(settings, "segment")
        identity = ServiceClient("identity", settings.identity_address, settings)
        profile = ServiceClient("profile", settings.profile_address, settings)
        wakeups = Wakeups(database, [FEED])
        grouping = Grouping(identity)
        around = Surroundings(database, Facts(profile), grouping, rules, settings, clock)
        workspaces = Workspaces(database, partial(Live, around=around), settings.workspaces)
        segments = Segments(database, workspaces, rules)
        servicer = SegmentServicer(segments, grouping, database, Feed(FEED, database, wakeups, settings))
        name = pb.DESCRIPTOR.services_by_name["SegmentService"].full_name
        try:
            yield Service(
                Servicer(name, add_SegmentServiceServicer_to_server, servicer), (wakeups.run, workspaces.run), wakeups
            )
        finally:
            await identity.close()
            await profile.close()
            await database.close()

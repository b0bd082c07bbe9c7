"""Puts the parts of the profile service together; `__main__` serves them, tests start them beside each other."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
from sima.profile.v1 import profile_service_pb2 as pb
from sima.profile.v1.profile_service_pb2_grpc import add_ProfileServiceServicer_to_server
from sima_runtime.clients import ServiceClient
from sima_runtime.database import Database
from sima_runtime.server import Servicer
from sima_runtime.supervision import Background
from sima_runtime.wakeups import Wakeups
from sima_sdk.plugins import identifier_kinds, loaded, plugin_manager

from sima_profile.following import OwnerFollower
from sima_profile.identity import Identity
from sima_profile.ingest import Ingestion
from sima_profile.keys import KeyReader
from sima_profile.maintenance import Maintenance
from sima_profile.pages import warm_up
from sima_profile.profiles import Profiles
from sima_profile.rewriting import OwnerRewriter
from sima_profile.servicer import ProfileServicer
from sima_profile.settings import ProfileSettings
from sima_profile.store.feed import CHANNEL
from sima_profile.store.sessions import plan_once
from sima_profile.validation import IdentifierReader
from sima_profile.watching import FactFeed

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


@asynccontextmanager
async def assembled(settings: ProfileSettings) -> AsyncIterator[Service]:
    """Give the parts of the service, ready to be served; their connections are closed at the end.

    Raises:
        FixConfigurationError: A setting or a plugin is wrong.
    """
    manager = plugin_manager(settings.plugins)
    for plugin in loaded(manager):
        _log.info("plugin_loaded", plugin=plugin.name, distribution=plugin.distribution, version=plugin.version)
    identifiers = IdentifierReader(identifier_kinds(manager), settings.master_key())
    database = Database(settings, "profile")
    plan_once(database)
    client = ServiceClient("identity", settings.identity_address, settings)
    identity = Identity(client)
    rewriter = OwnerRewriter(database, settings)
    followed = OwnerFollower(database, identity, rewriter, settings.workspace_poll_seconds)
    wakeups = Wakeups(database, [CHANNEL])
    maintenance = Maintenance(database, settings)
    servicer = ProfileServicer(
        Ingestion(database, identity, followed, identifiers),
        Profiles(database, identity, settings),
        FactFeed(database, wakeups, settings),
        KeyReader(identifiers),
    )
    warm_up()
    try:
        await maintenance.make_partitions()
        name = pb.DESCRIPTOR.services_by_name["ProfileService"].full_name
        yield Service(
            Servicer(name, add_ProfileServiceServicer_to_server, servicer),
            (wakeups.run, followed.run, rewriter.run, maintenance.run),
            wakeups,
        )
    finally:
        await client.close()
        await database.close()

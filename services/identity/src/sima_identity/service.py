"""Puts the parts of the identity service together; `__main__` serves them, tests start them beside each other."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import structlog
from sima.identity.v1 import identity_service_pb2 as pb
from sima.identity.v1.identity_service_pb2_grpc import add_IdentityServiceServicer_to_server
from sima_runtime.context import workspace_secret
from sima_runtime.database import Database
from sima_runtime.feeds import Feed
from sima_runtime.server import Servicer
from sima_runtime.supervision import Background
from sima_runtime.wakeups import Wakeups
from sima_sdk.identifiers import IdentifierKinds
from sima_sdk.plugins import identifier_kinds, loaded, plugin_manager

from sima_identity.affiliating import Affiliations
from sima_identity.applying import Applier
from sima_identity.counting import Counting
from sima_identity.deciding import Decider
from sima_identity.erasing import Eraser
from sima_identity.explainer import Explainer
from sima_identity.grouping import Grouping
from sima_identity.hubs import GrowthLimits
from sima_identity.past import Past
from sima_identity.policies import Policies
from sima_identity.policy import Policy, configured_patterns
from sima_identity.previewer import Previewer
from sima_identity.resolving import Resolver
from sima_identity.servicer import IdentityServicer
from sima_identity.settings import IdentitySettings
from sima_identity.store.log import FEEDS

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


def configured_policy(settings: IdentitySettings) -> Policy:
    """Return the rules that are in force: the built-in kinds, those of plugins, and the configured limits.

    Raises:
        FixConfigurationError: A setting or a plugin is wrong.
    """
    manager = plugin_manager(settings.plugins)
    for plugin in loaded(manager):
        _log.info("plugin_loaded", plugin=plugin.name, distribution=plugin.distribution, version=plugin.version)
    return Policy(identifier_kinds(manager), configured_patterns(settings.blocked), settings.most_identifiers)


@asynccontextmanager
async def assembled(settings: IdentitySettings, policy: Policy | None = None) -> AsyncIterator[Service]:
    """Give the parts of the service, ready to be served; its connections are closed at the end.

    Args:
        settings: All settings.
        policy: The rules; None: the configured ones.

    Raises:
        FixConfigurationError: A setting or a plugin is wrong.
    """
    policy = policy or configured_policy(settings)
    secrets = partial(workspace_secret, settings.master_key())
    database = Database(settings, "identity")
    wakeups = Wakeups(database, FEEDS)
    policies = Policies(database, policy, secrets)
    growth = GrowthLimits(settings.growth_per_identifier, settings.growth_per_profile)
    grouping = Grouping(database, policies, secrets, settings.neighbourhood_limit, growth)
    counting = Counting(database, policies, growth, settings.count_again_seconds)
    resolver = Resolver(database, grouping)
    eraser = Eraser(database, grouping, secrets)
    previewer = Previewer(database, policies, secrets)
    feeds = {name: Feed(name, database, wakeups, settings) for name in FEEDS}
    decider = Decider(grouping, secrets)
    explainer = Explainer(database, policies, settings.neighbourhood_limit)
    kinds = IdentifierKinds(policy.kinds)
    servicer = IdentityServicer(
        resolver,
        decider,
        explainer,
        database,
        policies=policies,
        previewer=previewer,
        eraser=eraser,
        past=Past(database, policies, secrets, settings.neighbourhood_limit),
        affiliations=Affiliations(database, policies),
        feeds=feeds,
        kinds=kinds,
        secrets=secrets,
    )
    beside = (resolver.settle_one, Applier(database, grouping).apply_some, eraser.check_some)
    name = pb.DESCRIPTOR.services_by_name["IdentityService"].full_name
    try:
        yield Service(
            Servicer(name, add_IdentityServiceServicer_to_server, servicer),
            (
                wakeups.run,
                *(partial(keep_at, work, settings.settle_seconds) for work in beside),
                *(
                    partial(keep_at, work, settings.count_seconds)
                    for work in (counting.count_some, counting.count_again)
                ),
            ),
            wakeups,
        )
    finally:
        await database.close()


async def keep_at(work: Callable[[], Awaitable[bool]], pause_seconds: float) -> None:
    """Do what is too large for a call, a portion at a time, for ever, with a pause whenever there is nothing to do."""
    while True:
        if not await work():
            await asyncio.sleep(pause_seconds)

"""Which policy is in force in a workspace, and how a workspace says so."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from sima_runtime.database import Database, Driver
from sima_runtime.errors import AlreadyExistsError, StaleVersionError

from sima_identity.decisions import Deciding
from sima_identity.policy import Blocking, Policy
from sima_identity.rules import Rules, effective, rules_from_json
from sima_identity.store import policies
from sima_identity.store.policies import Head, Stated

_WORKSPACES = 1024


class InForce(NamedTuple):
    """A policy in force.

    Attributes:
        version: Its number in the workspace; 0: the workspace has said nothing.
        settled: All that is stored is grouped under it.
        alone: Nobody is left who knows only an earlier one.
        policy: The rules.
        blocking: Says which identifiers name nobody.
    """

    version: int
    settled: bool
    alone: bool
    policy: Policy
    blocking: Blocking


class Policies:
    """Knows the policies of all workspaces."""

    def __init__(self, database: Database, base: Policy, secrets: Callable[[str], bytes]) -> None:
        """Set up.

        Args:
            database: The schema `identity`.
            base: The installation's policy: what holds where a workspace says nothing.
            secrets: Gives the secret of a workspace.
        """
        self._database = database
        self.base, self._secrets = base, secrets
        self._known: dict[str, tuple[InForce, datetime | None]] = {}

    async def in_force(self, connection: Driver, workspace: str) -> InForce:
        """Return the policy that is in force."""
        known, set_at = self._known.get(workspace, (None, None))
        head = await policies.head(connection, workspace, known and known.version, set_at)
        if known is None or (head.version, head.set_at) != (known.version, set_at):
            known = self.under(workspace, head.version, _said(head))
            if len(self._known) >= _WORKSPACES:
                self._known.clear()
            self._known[workspace] = known, head.set_at
        return known._replace(settled=head.settled, alone=head.alone)

    async def stated(self, workspace: str, version: int | None) -> Stated | None:
        """Return what a workspace said in a version, or last; None if it said nothing then."""
        async with self._database.statement() as connection:
            return await policies.find(connection, workspace, version)

    async def set(
        self, workspace: str, rules: Rules, by: Deciding, expected: int | None, *, unless_in_force: bool = False
    ) -> Stated | None:
        """Say something new about the policy of a workspace, or return what the same call said before.

        With `unless_in_force`, what says the same as the policy in force is not new; None: nobody ever said anything.

        Raises:
            AlreadyExistsError: The same call said something else before.
            StaleVersionError: Another version than the expected one is in force.
        """
        async with self._database.transaction() as connection:
            await policies.take_turn(connection, workspace)
            said = await policies.of_request(connection, workspace, by.request_id)
            if said is not None:
                if not _same(rules_from_json(said.rules), rules):
                    raise AlreadyExistsError("policy", str(said.version))
                return said
            head = await policies.head(connection, workspace, None, None)
            if expected not in (None, head.version):
                raise StaleVersionError("policy", str(head.version))
            if unless_in_force and _same(_said(head), rules):
                return await policies.find(connection, workspace, None)
            return await policies.insert(connection, workspace, rules.to_json(), by)

    def under(self, workspace: str, version: int, rules: Rules) -> InForce:
        """Return the policy of a workspace that would say this."""
        policy = effective(rules, self.base)
        return InForce(version, True, True, policy, Blocking(policy, self._secrets(workspace)))


def _same(one: Rules, other: Rules) -> bool:
    """Whether both say the same: an erased value, of which only the key is left, is the same as before."""
    bare = [replace(rules, values=[replace(each, value=None) for each in rules.values]) for rules in (one, other)]
    return bare[0].to_json() == bare[1].to_json()  # which does not tell tuples from lists


def _said(head: Head) -> Rules:
    """What a workspace says, of which the rules are not known yet."""
    return Rules() if head.rules is None else rules_from_json(head.rules)

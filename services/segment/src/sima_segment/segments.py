"""What can be done with segments: the domain behind the contract."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sima_runtime.database import Database
from sima_runtime.errors import (
    AlreadyExistsError,
    InUseError,
    InvalidFieldsError,
    NotFoundError,
    Violation,
    Violations,
)

from sima_segment import store
from sima_segment.previews import Preview
from sima_segment.rulebook import RuleBook
from sima_segment.rules import LONGEST_RULE, LONGEST_SEGMENT_NAME, Problem, Rule, RuleError, normal_name
from sima_segment.state import State
from sima_segment.store import Segment
from sima_segment.workspaces import Workspaces

LONGEST_DESCRIPTION = 2_000
_NAME = f"expected 1 to {LONGEST_SEGMENT_NAME} letters, digits, `_` and `-`"
_RULE = f"expected a rule of 1 to {LONGEST_RULE} characters"
_DESCRIPTION = f"expected at most {LONGEST_DESCRIPTION} characters, none of them the character zero"


class Memberships(NamedTuple):
    """The segments of a person by name, each with the time of entry, and up to when that is known."""

    segments: list[tuple[str, datetime]]
    as_of: datetime | None


class Segments:
    """Creates, changes and reads the segments of workspaces."""

    def __init__(self, database: Database, workspaces: Workspaces, rules: RuleBook) -> None:
        """Set up.

        Args:
            database: The schema `segment`.
            workspaces: The loops that keep memberships true.
            rules: Reads rules.
        """
        self._database = database
        self._workspaces = workspaces
        self._rules = rules

    async def create(self, workspace: str, name: str, rule: str, description: str) -> Segment:
        """Create a segment; its members are known afterwards. The same segment again changes nothing.

        Raises:
            AlreadyExistsError: There is another segment of this name.
            InvalidFieldsError: A field is not as it must be.
        """
        normal, parsed = await self._checked(name, rule, description)
        live = await self._workspaces.follow(workspace)

        async def define(state: State) -> None:
            existing = await self._find(workspace, normal)
            if existing is None:
                await _define(state, normal, parsed, description)
            elif (existing.rule, existing.description) != (rule, description):
                raise AlreadyExistsError("segment", normal)

        await live.ask(define)
        return await self.get(workspace, normal)

    async def update(self, workspace: str, name: str, rule: str | None, description: str | None) -> Segment:
        """Change a segment; None leaves a field as it is.

        Raises:
            NotFoundError: There is no such segment.
            InvalidFieldsError: A field is not as it must be.
        """
        await self.get(workspace, name)  # nothing is followed for a segment that there is not
        live = await self._workspaces.follow(workspace)

        async def define(state: State) -> None:
            existing = await self.get(workspace, name)  # only here does it not change before it is written
            changed_text = existing.description if description is None else description
            if rule is None:  # the old one may be a rule that is not understood now
                _check_description(found := Violations(), changed_text)
                found.check()
                await state.describe(existing.name, existing.rule, changed_text)
            else:
                normal, parsed = await self._checked(existing.name, rule, changed_text)
                await _define(state, normal, parsed, changed_text)

        await live.ask(define)
        return await self.get(workspace, name)

    async def delete(self, workspace: str, name: str) -> None:
        """Delete a segment.

        Raises:
            NotFoundError: There is no such segment.
            InUseError: The rule of another segment refers to it.
        """
        existing = await self.get(workspace, name)
        live = await self._workspaces.follow(workspace)

        async def remove(state: State) -> None:
            await self.get(workspace, existing.name)
            if users := state.plan.users(existing.name):
                raise InUseError("segment", existing.name, users[0])
            await state.remove(existing.name)

        await live.ask(remove)

    async def preview(self, workspace: str, rule: str, sample: int) -> Preview:
        """Say whom a rule would hold for, of what was accepted before this call.

        Raises:
            RuleError: The rule cannot be understood.
        """
        if not 0 < len(rule) <= LONGEST_RULE:
            raise InvalidFieldsError([Violation("rule", _RULE)])
        parsed = await self._read(rule)
        live = await self._workspaces.follow(workspace)

        async def caught_up(state: State) -> State:
            await state.make_room(parsed)
            return state

        return await (await live.ask(caught_up)).preview(parsed, sample)

    async def get(self, workspace: str, name: str) -> Segment:
        """Return a segment.

        Raises:
            NotFoundError: There is none of this name.
        """
        found = await self._find(workspace, normal_name(name) or "")
        if found is None:
            raise NotFoundError("segment", name)
        return self._marked(workspace, found)

    def _marked(self, workspace: str, segment: Segment) -> Segment:
        live = self._workspaces.known(workspace)
        return segment._replace(frozen=live is not None and segment.name in live.frozen)

    async def named(self, workspace: str, names: Sequence[str], *, deleted_too: bool) -> frozenset[str]:
        """Return the names of segments in their normal form.

        Args:
            workspace: Whose segments.
            names: As somebody wrote them.
            deleted_too: Whether they may be names of segments that there are no more.

        Raises:
            NotFoundError: There is no segment of one of the names.
            InvalidFieldsError: A name cannot be one.
        """
        found, normal = Violations(), [normal_name(name) or "" for name in names]
        for place, name in enumerate(normal):
            found.require(bool(name), f"segments[{place}]", _NAME)
        found.check()
        if deleted_too:
            return frozenset(normal)
        async with self._database.statement() as connection:
            existing = await store.existing(connection, workspace, normal)
        for name in normal:
            if name not in existing:
                raise NotFoundError("segment", name)
        return existing

    async def page(self, workspace: str, after: str, limit: int) -> list[Segment]:
        """Return segments by name, behind a name."""
        async with self._database.statement() as connection:
            found = await store.segment_page(connection, workspace, after, limit)
        return [self._marked(workspace, segment) for segment in found]

    async def members(self, workspace: str, name: str, after: bytes | None, limit: int) -> list[tuple[bytes, datetime]]:
        """Return members by profile id, behind one, with the time of their entry. Raises as `get` does."""
        segment = await self.get(workspace, name)
        async with self._database.statement() as connection:
            return await store.member_page(connection, workspace, segment.name, after, limit)

    async def memberships(self, workspace: str, person: bytes) -> Memberships:
        """Return the segments of a person."""
        live = self._workspaces.known(workspace)
        as_of = live.as_of if live is not None else None  # before the rows are read, so never too late
        async with self._database.statement() as connection:
            return Memberships(await store.memberships(connection, workspace, person), as_of)

    async def _find(self, workspace: str, name: str) -> Segment | None:
        async with self._database.statement() as connection:
            return await store.segment(connection, workspace, name)

    async def _read(self, rule: str) -> Rule:
        """Read a rule, which may take long, beside the event loop."""
        return await asyncio.to_thread(self._rules.read, rule)

    async def _checked(self, name: str, rule: str, description: str) -> tuple[str, Rule]:
        """Return the normal form of the name, and the rule; raises with everything that is wrong."""
        found = Violations()
        normal, parsed = normal_name(name), None
        found.require(normal is not None, "segment.name", _NAME)
        _check_description(found, description)
        if found.require(0 < len(rule) <= LONGEST_RULE, "segment.rule", _RULE):
            try:
                parsed = await self._read(rule)
            except RuleError as error:
                _add_problems(found, error)
        if normal is None or parsed is None or found:
            raise InvalidFieldsError(found)
        return normal, parsed


def _check_description(found: Violations, description: str) -> None:
    described = len(description) <= LONGEST_DESCRIPTION and "\0" not in description
    found.require(described, "segment.description", _DESCRIPTION)


async def _define(state: State, name: str, rule: Rule, description: str) -> None:
    try:
        await state.define(name, rule, description)
    except RuleError as error:
        found = Violations()
        _add_problems(found, error)
        raise InvalidFieldsError(found) from None


def _add_problems(found: Violations, error: RuleError) -> None:
    for problem in error.problems:
        found.add("segment.rule", _described(problem))


def _described(problem: Problem) -> str:
    text = f"line {problem.line}, column {problem.column}: {problem.message}"
    return f"{text}; perhaps {problem.suggestion}" if problem.suggestion else text

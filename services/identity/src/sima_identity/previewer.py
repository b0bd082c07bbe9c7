"""Tries a policy out on all that is stored."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import NamedTuple, ParamSpec, TypeVar

import numpy as np
from sima_runtime.database import Database

from sima_identity.policies import InForce, Policies
from sima_identity.policy import Policy
from sima_identity.previewing import Effect, Flags, Graph, Preview, numbered
from sima_identity.rules import Rules
from sima_identity.store import snapshot

# Identifiers that are read at once, roughly.
_PORTION = 20_000
_MOST_PARTS = 4_096

P = ParamSpec("P")
Done = TypeVar("Done")


class Progress(NamedTuple):
    """How many identifiers were read and grouped, how many there are, roughly, and at the end what would change."""

    read: int
    grouped: int
    total: int
    effect: Effect | None = None


class Previewer:
    """Tries policies out, one at a time, for each holds a whole graph in memory; see docs/operating.md."""

    def __init__(self, database: Database, policies: Policies, secrets: Callable[[str], bytes]) -> None:
        """Set up.

        Args:
            database: The schema `identity`.
            policies: Knows what is in force.
            secrets: Gives the secret of a workspace.
        """
        self._database, self._policies, self._secrets = database, policies, secrets
        self._turn = asyncio.Lock()

    async def preview(self, workspace: str, rules: Rules, one_in: int, examples: int) -> AsyncGenerator[Progress]:
        """Yield how far it has got, and last what the rules would change about every `one_in`-th neighbourhood.

        It goes on however slowly that is read, so that whoever stops reading holds up nobody; what was not read when
        more is known is left out. It ends when the generator is closed, at the latest with the portion it is at.
        """
        latest = _Latest()
        work = asyncio.create_task(self._in_turn(workspace, rules, one_in, examples, latest))
        work.add_done_callback(lambda _: latest.come.set())
        try:
            while not work.done():
                await latest.come.wait()
                latest.come.clear()
                if not work.done():
                    yield latest.progress
            yield await work
        finally:
            work.cancel()
            await asyncio.shield(asyncio.gather(work, return_exceptions=True))

    async def _in_turn(self, workspace: str, rules: Rules, one_in: int, examples: int, latest: "_Latest") -> Progress:
        """Try rules out when all who came before have ended, and return the last progress."""
        tried = self._policies.under(workspace, -1, rules)
        kinds = list(tried.policy.kinds)
        async with self._turn:
            graph = await self._read(workspace, tried, kinds, latest)
            preview = await _in_thread(Preview, graph, tried.policy, kinds, one_in)
            count, portions = len(graph.identifiers), preview.portions()
            while (grouped := await _in_thread(next, portions, None)) is not None:
                latest.put(Progress(count, grouped, count))
            effect = await _in_thread(preview.effect, self._secrets(workspace), examples)
            return Progress(count, int(preview.looked_at.sum()), count, effect)

    async def _read(self, workspace: str, tried: InForce, kinds: list[str], latest: "_Latest") -> Graph:
        """Read all of one moment."""
        async with self._database.transaction() as connection:
            await snapshot.begin(connection)
            in_force = await self._policies.in_force(connection, workspace)
            values = not in_force.settled or _blocking(in_force.policy) != _blocking(tried.policy)
            parts = min(max(await snapshot.estimate(connection) // _PORTION, 1), _MOST_PARTS)
            rows, blocked, read = [], [], 0
            async for part in snapshot.identifiers(connection, workspace, kinds, parts, values=values):
                rows.append(part.identifiers)
                blocked.append(await _in_thread(_blocked, part, kinds, tried))
                read += len(part.identifiers)
                latest.put(Progress(read, 0, read * parts // len(rows)))
            edges = [each async for each in snapshot.edges(connection, workspace, parts)]
            decided = await snapshot.decided(connection, workspace)
        arrays = np.concatenate(rows), np.concatenate(blocked), np.concatenate(edges)
        return await _in_thread(numbered, *arrays, decided)


class _Latest:
    """The latest progress; `come` is set when there is one that was not read yet, and at the end."""

    def __init__(self) -> None:
        self.come = asyncio.Event()
        self.progress = Progress(0, 0, 0)

    def put(self, progress: Progress) -> None:
        """Have this be the latest."""
        self.progress = progress
        self.come.set()


async def _in_thread(work: Callable[P, Done], *given: P.args, **more: P.kwargs) -> Done:
    """Work in a thread, and go only when that has ended: a thread cannot be stopped, and holds the graph as long."""
    working = asyncio.ensure_future(asyncio.to_thread(work, *given, **more))
    try:
        return await asyncio.shield(working)
    finally:
        await asyncio.wait([working])


def _blocking(policy: Policy) -> tuple[object, ...]:
    """All that decides which identifiers a policy blocks."""
    return policy.blocked, policy.blocked_keys, policy.known_junk


def _blocked(part: snapshot.Part, kinds: list[str], tried: InForce) -> Flags:
    rows, values = part
    if values is None:
        flags: Flags = rows["blocked"] != 0
        return flags
    names = ["", *kinds]
    identifiers: Iterator[tuple[bytes, int, str | None]] = zip(
        np.ascontiguousarray(rows["key"]).view("V16").tolist(), rows["kind"].tolist(), values, strict=True
    )
    return np.fromiter((tried.blocking.blocks(key, names[kind], value) for key, kind, value in identifiers), bool)

"""From facts to the rows of the tables. Pure."""

from collections.abc import Iterable

from sima_profile.batch import Arrival
from sima_profile.message_identity import part_id
from sima_profile.owners import Ownership
from sima_profile.store.appending import ConsentRow, FactRow, ObservationRow
from sima_profile.store.times import to_copy

Owned = tuple[Arrival, Ownership]


def fact_row(arrival: Arrival, ownership: Ownership) -> FactRow:
    """Return the row of a fact."""
    fact = arrival.fact
    return FactRow(
        arrival.id,
        to_copy(arrival.occurred_at),
        fact.source,
        arrival.belonging.keys,
        *ownership,
        fact.event,
        fact.properties,
        fact.content,
    )


def observation_rows(owned: Iterable[Owned]) -> list[ObservationRow]:
    """Return the rows of what facts say about traits."""
    return [
        ObservationRow(
            arrival.id,
            position,
            part_id(arrival.id, "traits", position),
            ownership.owner,
            arrival.belonging.keys,
            *(trait.trait, trait.type, trait.value),
            arrival.fact.source,
            trait.method,
            to_copy(arrival.occurred_at),
            trait.confidence,
        )
        for arrival, ownership in owned
        for position, trait in enumerate(arrival.fact.traits)
    ]


def consent_rows(owned: Iterable[Owned]) -> list[ConsentRow]:
    """Return the rows of what facts say about consents."""
    return [
        ConsentRow(
            arrival.id,
            position,
            part_id(arrival.id, "consents", position),
            arrival.belonging.keys,
            *consent,
            arrival.fact.source,
            to_copy(arrival.occurred_at),
        )
        for arrival, _ in owned
        for position, consent in enumerate(arrival.fact.consents)
    ]

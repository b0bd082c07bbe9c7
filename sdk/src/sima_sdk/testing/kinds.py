"""The promises of a kind of identifiers."""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

import pytest

from sima_sdk.errors import InvalidIdentifierError
from sima_sdk.identifiers import IdentifierKind, IdentifierKinds
from sima_sdk.payload import is_storable
from sima_sdk.testing.contract import Contract, Mutations, require_at_least
from sima_sdk.testing.mutations import mutate_query
from sima_sdk.testing.soundness import assert_discreet


@dataclass(frozen=True, slots=True)
class KindSubject:
    """A kind with values.

    Attributes:
        kind: What is tested.
        spellings: Values as channels write them, each with its normal form; at least one.
        wrong: Values that have no normal form; at least one.
        region: Of local phone numbers.
    """

    kind: IdentifierKind
    spellings: Mapping[str, str]
    wrong: tuple[str, ...]
    region: str | None = None

    def __post_init__(self) -> None:
        """Require values of both sorts."""
        require_at_least(1, "spellings", len(self.spellings))
        require_at_least(1, "wrong", len(self.wrong))

    def normal(self, value: str) -> str:
        """Return a normal form as Sima asks for it."""
        return IdentifierKinds({self.kind.name: self.kind}).normalise(self.kind.name, value, self.region)


class IdentifierKindContract(Contract):
    """Inherit it, override the fixture `subject`, and every promise is tested."""

    def test_every_spelling_has_its_normal_form(self, subject: KindSubject) -> None:
        """However a channel writes a value, it comes out in the one form that is compared."""
        for written, normal in subject.spellings.items():
            assert subject.normal(written) == normal

    def test_a_normal_form_is_its_own(self, subject: KindSubject) -> None:
        """Normalising what is normal changes nothing, so a stored value can be looked up by itself."""
        for normal in subject.spellings.values():
            assert subject.normal(normal) == normal

    def test_a_wrong_value_is_refused(self, subject: KindSubject) -> None:
        """What cannot be such an identifier is refused, with a reason that does not repeat it."""
        for value in subject.wrong:
            with pytest.raises(InvalidIdentifierError) as error:
                subject.normal(value)
            assert not value.strip() or value not in str(error.value), "a reason repeats the value"

    def test_mutated_values_break_nothing(self, subject: KindSubject, mutations: Mutations) -> None:
        """Whatever stands there has a normal form that is its own and can be stored, or is refused with a reason."""
        for chance in mutations:
            value = _mutated(chance.choice(list(subject.spellings)), chance)
            with mutations.explained(repr(value)):
                _assert_normal_or_refused(subject, value)


def _assert_normal_or_refused(subject: KindSubject, value: str) -> None:
    try:
        normal = subject.normal(value)
    except InvalidIdentifierError as error:
        assert_discreet(str(error))
        return
    assert is_storable(normal), "a normal form holds what cannot be stored"
    assert subject.normal(normal) == normal, "a normal form is not its own normal form"


def _mutated(value: str, chance: Random) -> str:
    """Return another text, or the value with a piece of another text in it."""
    other = mutate_query({"value": value}, chance).get("value", "")
    at = chance.randrange(len(value) + 1)
    return chance.choice((other, value[:at] + other[:5] + value[at:], value[:at], value[at:]))

"""The promises of a connector that reads files."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from shutil import copy

import pytest

from sima_sdk.connectors import Page, PullConnector, Source, check_options
from sima_sdk.errors import PayloadError
from sima_sdk.facts import Fact
from sima_sdk.testing.contract import Contract, Mutations, require_at_least
from sima_sdk.testing.mutations import mutate_table
from sima_sdk.testing.soundness import assert_discreet, assert_distinct, assert_sound, assert_sound_refusals

MOST_PER_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class PullSubject:
    """A connector with a real file, best a short one.

    Attributes:
        connector: What is tested.
        source: How it is configured.
        content: The file.
        facts: How many facts it holds; at least two, for one alone has no message id to share.
        refusals: How many of its records are refused.
        delimiter: What stands between its fields.
    """

    connector: PullConnector
    source: Source
    content: bytes
    facts: int
    refusals: int = 0
    delimiter: bytes = b","

    def __post_init__(self) -> None:
        """Require facts that can be told apart."""
        require_at_least(2, "facts", self.facts)

    def pages(self, file: Path, checkpoint: str = "") -> list[Page]:
        """Read a file to its end."""
        return list(self.connector.pull(self.source, file, checkpoint))


class PullConnectorContract(Contract):
    """Inherit it, override the fixture `subject`, and every promise is tested."""

    @pytest.fixture
    def file(self, subject: PullSubject, tmp_path: Path) -> Path:
        """The real file."""
        path = tmp_path / "real"
        path.write_bytes(subject.content)
        return path

    @pytest.fixture
    def long_file(self, subject: PullSubject, tmp_path: Path) -> Path:
        """A file of several pages: the first line, and then the others again and again.

        Override it if that is no file which the connector understands.
        """
        header, _, lines = subject.content.partition(b"\n")
        path = tmp_path / "long"
        path.write_bytes(header + b"\n" + (lines.rstrip(b"\n") + b"\n") * (2 + 3_000 // (lines.count(b"\n") or 1)))
        return path

    def test_its_source_is_taken(self, subject: PullSubject) -> None:
        """It has a name, and a source with all that it needs passes its check."""
        assert subject.connector.name, "a connector must have a name"
        check_options(subject.connector, subject.source)
        subject.connector.check(subject.source)

    def test_a_real_file_becomes_facts(self, subject: PullSubject, file: Path) -> None:
        """The file gives the facts and refusals that stand in it."""
        pages = subject.pages(file)
        assert len(_facts(pages)) == subject.facts, "facts"
        assert sum(len(page.refusals) for page in pages) == subject.refusals, "refusals"

    def test_facts_are_sound(self, subject: PullSubject, file: Path) -> None:
        """What comes of the file can be stored, and belongs to somebody."""
        _assert_sound(subject.pages(file))

    def test_reading_again_says_the_same(self, subject: PullSubject, file: Path, tmp_path: Path) -> None:
        """The same file sent again gives the same facts with the same message ids, so nothing is counted twice."""
        folder = tmp_path / "again"  # another one, as the collector has for each upload
        folder.mkdir()
        again = subject.pages(Path(copy(file, folder)))
        _assert_same(_parts(subject.pages(file)), _parts(again), "read again from another folder, the file differs")

    def test_every_record_is_a_message(self, subject: PullSubject, file: Path) -> None:
        """Every fact of the file has a message id of its own, also where records are identical."""
        facts = _facts(subject.pages(file))
        assert all(fact.message_id for fact in facts), "a fact has no message id"
        assert_distinct(facts)

    def test_a_long_file_comes_in_pages(self, subject: PullSubject, long_file: Path) -> None:
        """No page is empty or larger than what is made durable at once, and each says where to go on."""
        pages = subject.pages(long_file)
        assert len(pages) > 1, "a long file must give several pages"
        for page in pages:
            assert 0 < len(page.facts) + len(page.refusals) <= MOST_PER_PAGE, "size of a page"
        assert len({page.checkpoint for page in pages}) == len(pages), "each page needs its own checkpoint"

    def test_a_stopped_pull_goes_on(self, subject: PullSubject, long_file: Path) -> None:
        """Behind each checkpoint comes exactly what had not been read before it."""
        pages = subject.pages(long_file)
        for number, page in enumerate(pages, start=1):
            rest = subject.pages(long_file, page.checkpoint)
            _assert_same(_facts(rest), _facts(pages[number:]), "after a stop, a fact is lost or comes twice")

    def test_an_empty_file_is_refused(self, subject: PullSubject, tmp_path: Path) -> None:
        """A file without content is no file of the channel."""
        empty = tmp_path / "empty"
        empty.touch()
        with pytest.raises(PayloadError) as error:
            subject.pages(empty)
        assert_discreet(str(error.value))

    def test_mutated_files_break_nothing(self, subject: PullSubject, tmp_path: Path, mutations: Mutations) -> None:
        """Whatever the file holds becomes sound facts, or is refused with a reason that repeats no value, or both."""
        file = tmp_path / "mutated"
        for chance in mutations:
            file.write_bytes(mutate_table(subject.content, chance, subject.delimiter))
            with mutations.explained(f"{file.read_bytes()!r}"):
                _assert_taken_or_refused(subject, file)


def _assert_taken_or_refused(subject: PullSubject, file: Path) -> None:
    try:
        _assert_sound(subject.pages(file))
    except PayloadError as error:
        assert_discreet(str(error))


def _facts(pages: list[Page]) -> list[Fact]:
    return [fact for page in pages for fact in page.facts]


def _parts(pages: list[Page]) -> list[object]:
    return [part for page in pages for part in (*page.facts, *page.refusals, page.checkpoint)]


def _assert_same(ones: Sequence[object], others: Sequence[object], complaint: str) -> None:
    """Compare what may be long, and show the first difference only: to show all of them takes pytest minutes."""
    for number, (one, other) in enumerate(zip_longest(ones, others), start=1):
        assert one == other, f"{complaint}, from number {number} on"


def _assert_sound(pages: list[Page]) -> None:
    assert all(isinstance(page, Page) for page in pages), "pull must yield Pages"
    assert_sound(_facts(pages))
    for page in pages:
        assert_sound_refusals(page.refusals)

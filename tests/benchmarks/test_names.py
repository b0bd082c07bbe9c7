"""Which benchmarks a name stands for."""

import pytest

from benchmarks.__main__ import BENCHMARKS, ON_DEMAND, chosen


def test_all_are_run_if_none_is_named_but_those_on_demand() -> None:
    """Nobody waits for what takes long without having asked for it."""
    assert chosen([]) == list(BENCHMARKS)
    assert not set(chosen([])) & ON_DEMAND.keys()


def test_a_name_is_one_benchmark() -> None:
    """Also one on demand; in the order of the command line."""
    assert chosen(["truth", *ON_DEMAND]) == ["truth", *ON_DEMAND]


def test_first_words_stand_for_all_that_begin_so() -> None:
    """`identity` runs what is measured of identity, and nothing else."""
    assert chosen(["identity"]) == [name for name in BENCHMARKS if name.startswith("identity_")] != []


@pytest.mark.parametrize("name", ["identit", "identity_", "", "ingest_"])
def test_what_is_called_otherwise_is_refused(name: str) -> None:
    """Rather than run as nothing, or as everything."""
    with pytest.raises(ValueError, match="no such benchmark"):
        chosen([name])

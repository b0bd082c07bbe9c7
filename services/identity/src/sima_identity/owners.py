"""Which identifier owns a fact."""

from collections.abc import Mapping, Sequence

from sima_identity.records import State


def owner(keys: Sequence[bytes], states: Mapping[bytes, State]) -> bytes | None:
    """Return the key that owns a fact.

    Args:
        keys: Of the fact's identifiers, strongest first.
        states: Of each of them.

    Returns:
        The strongest that is neither blocked nor shared; if there is none, the strongest shared one; None if all are
        blocked, for such a fact belongs to nobody.
    """
    shared = None
    for key in keys:
        state = states[key]
        if not (state.shared or state.blocked):
            return key
        if shared is None and not state.blocked:
            shared = key
    return shared

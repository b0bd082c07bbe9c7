"""What callers of the contract can rely on, through real gRPC on real PostgreSQL."""

from .conftest import Replica, cookie, mail, together, user


async def test_identifiers_seen_together_are_one_profile(identity: Replica, workspace: str) -> None:
    """Resolve answers the same profile for all identifiers of a message, and Lookup finds it by each of them."""
    [answer] = await identity.resolve(workspace, [together(mail("ada"), user("u1"), cookie("c1"))])
    found = await identity.lookup(workspace, [mail("ada"), user("u1"), cookie("c1"), answer.profile_id])
    assert {result.profile_id for result in found} == {answer.profile_id}
    assert [(known.identifier.kind, known.identifier.value) for known in found[0].identifiers] == [
        user("u1"), mail("ada"), cookie("c1"),
    ]  # fmt: skip
    assert list(answer.keys) == [known.identifier.key for known in found[0].identifiers]
    assert answer.owner_key == answer.keys[0]
    assert not answer.pending

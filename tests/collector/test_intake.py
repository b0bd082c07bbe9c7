"""What channels are answered, and what became of their facts by then."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable

import pytest
from sima.type.v1.fact_pb2 import Fact
from sima_collector.facts import MOST_BYTES
from sima_collector.settings import CollectorSettings
from sima_runtime.logs import describe_exception
from structlog.testing import CapturingLogger

from tests.collector.conftest import Door, MemoryProfile, OpenDoor, eventually


def line(message_id: str, *identifiers: tuple[str, str], **properties: object) -> str:
    """A line about these identifiers."""
    return json.dumps({"id": message_id, "identifiers": identifiers, "properties": properties})


async def test_facts_are_stored_before_the_channel_is_answered(door: Door, profile: MemoryProfile) -> None:
    """The connector's own answer comes once its facts are durable, with their counts beside it."""
    answer = await door.send("1\n2\n3")
    assert (answer.status_code, answer.content) == (200, b"taken")
    assert profile.ids() == ["m1", "m2", "m3"]
    assert answer.headers["sima-accepted"] == "3"
    assert answer.headers["sima-refused"] == "0"


async def test_the_same_message_again_is_a_duplicate(door: Door, profile: MemoryProfile) -> None:
    """A channel that repeats a message hears so and changes nothing."""
    await door.send("1")
    again = await door.send("1\n2")
    assert (again.headers["sima-accepted"], again.headers["sima-duplicates"]) == ("1", "1")
    assert profile.ids() == ["m1", "m2"]


async def test_a_connector_may_ask_for_the_report_in_its_body(door: Door, profile: MemoryProfile) -> None:
    """Counts, and for each refused fact its message id and the reason, are added to the connector's own JSON."""
    profile.refuse.add("m2")
    answer = await door.client.post("/in/web/echo/report", content="1\n2\nbad")
    assert answer.status_code == 201
    assert answer.json() == {
        "lines": 3,
        "result": {
            "accepted": 1,
            "duplicates": 0,
            "conflicts": 0,
            "buffered": 0,
            "trimmed": 0,
            "refused": 2,
            "refusals": [
                {"message_id": "", "reason": "expected a fact"},
                {"message_id": "m2", "reason": "occurred_at: must not lie ahead"},
            ],
        },
    }


async def test_facts_travel_normalised_with_their_source_and_workspace(door: Door, profile: MemoryProfile) -> None:
    """Local phone numbers are read in the source's region, and each identifier carries its key."""
    await door.send(line("m1", ("phone", "050 123 4567"), ("email", " Ada@Example.COM ")), source="branch")
    (fact,) = profile.received
    assert fact.source == "branch"
    assert [(one.kind, one.value) for one in fact.identifiers] == [
        ("phone", "+966501234567"),
        ("email", "ada@example.com"),
    ]
    assert all(len(one.key) == 16 for one in fact.identifiers)
    assert list(profile.facts) == [("other", "m1")]


async def test_a_protected_value_never_leaves_the_worker(door: Door, profile: MemoryProfile) -> None:
    """Of a passport only the key travels on, and neither buffer nor refusals hold the number."""
    profile.refuse.add("m2")
    passport = ("passport", "K1234567")
    await door.send("\n".join([line("m1", passport), line("m2", passport), line("m3", passport, ("email", "no"))]))
    assert [(one.value, len(one.key)) for fact in profile.received for one in fact.identifiers] == [("", 16), ("", 16)]
    stored = await door.refusals()
    assert [one["message_id"] for one in stored] == ["m2", "m3"]
    assert "K1234567" not in json.dumps(stored)
    data = door.collector.settings.data_dir
    assert not any(b"K1234567" in path.read_bytes() for path in data.iterdir() if path.is_file())


async def test_a_fact_is_taken_without_an_identifier_that_has_no_normal_form(
    door: Door, profile: MemoryProfile
) -> None:
    """Junk beside a good identifier costs only the junk, and what was left out is stored with the reason."""
    answer = await door.send(line("m1", ("phone", "n/a"), ("email", "ada@example.com")))
    assert (answer.headers["sima-accepted"], answer.headers["sima-trimmed"]) == ("1", "1")
    assert [one.kind for one in profile.received[0].identifiers] == ["email"]
    (stored,) = await door.refusals()
    assert stored["reason"].startswith("taken without an identifier: identifiers[0].value: phone: expected")
    assert json.loads(stored["raw"])["identifiers"][0] == {"kind": "phone", "value": "n/a"}


async def test_a_fact_without_any_sound_identifier_is_refused_and_stored(door: Door, profile: MemoryProfile) -> None:
    """Nobody could ever be found by it, and it is kept for whoever mends the source."""
    answer = await door.send("\n".join([line("m1", ("phone", "n/a")), "2"]))
    assert (answer.headers["sima-accepted"], answer.headers["sima-refused"]) == ("1", "1")
    assert profile.ids() == ["m2"]
    (stored,) = await door.refusals()
    assert (stored["message_id"], stored["source"]) == ("m1", "web")


async def test_text_that_is_no_unicode_costs_only_its_own_fact(door: Door, profile: MemoryProfile) -> None:
    """Half a surrogate pair in one message id does not take the facts beside it along."""
    answer = await door.send('{"id": "\\ud800", "identifiers": [["user_id", "u"]]}\n2')
    assert (answer.status_code, profile.ids()) == (200, ["m2"])
    assert len(await door.refusals()) == 1


async def test_a_fact_that_no_call_could_carry_is_refused_and_stored(
    settings: Callable[..., CollectorSettings], open_door: OpenDoor, profile: MemoryProfile
) -> None:
    """It would fail again and again; those beside it go on."""
    door = await open_door(settings(body_bytes=20 << 20))
    answer = await door.send("\n".join(["1", line("m2", ("user_id", "u2"), text="x" * MOST_BYTES), "3"]))
    assert (answer.headers["sima-accepted"], answer.headers["sima-refused"]) == ("2", "1")
    assert profile.ids() == ["m1", "m3"]
    (stored,) = await door.refusals()
    assert (stored["message_id"], stored["reason"]) == ("m2", f"expected a fact of at most {MOST_BYTES} bytes")


async def test_what_is_no_fact_is_stored_with_its_bytes(door: Door, profile: MemoryProfile) -> None:
    """Bad parts of a payload are kept, good ones go on."""
    answer = await door.send("1\nbad\n2")
    assert answer.status_code == 200
    assert profile.ids() == ["m1", "m2"]
    (stored,) = await door.refusals()
    assert (stored["raw"], stored["reason"], stored["workspace"]) == ("bad", "expected a fact", "main")


async def test_what_the_profile_service_refuses_is_stored_as_it_travelled(door: Door, profile: MemoryProfile) -> None:
    """The reason names the field, and the fact can be read."""
    profile.refuse.add("m2")
    answer = await door.send("1\n2\n3")
    assert (answer.headers["sima-accepted"], answer.headers["sima-refused"]) == ("2", "1")
    (stored,) = await door.refusals()
    assert (stored["message_id"], stored["reason"]) == ("m2", "occurred_at: must not lie ahead")
    assert json.loads(stored["raw"])["identifiers"][0]["value"] == "u2"


async def test_of_a_fact_about_the_erased_nothing_is_kept(door: Door, profile: MemoryProfile) -> None:
    """But that there was one, why it was refused, and how large it was."""
    profile.erased.add("m2")
    answer = await door.send("1\n2\n3")
    assert (answer.headers["sima-accepted"], answer.headers["sima-refused"]) == ("2", "1")
    (stored,) = await door.refusals()
    assert (stored["message_id"], stored["reason"]) == ("", "identifiers: expected none that was erased")
    assert json.loads(stored["raw"])["not_kept"].keys() == {"bytes"}


async def test_a_wrong_signature_is_401_and_leaves_no_trace(door: Door, profile: MemoryProfile) -> None:
    """What does not prove where it comes from is neither taken nor stored."""
    for headers in ({}, {"x-signature": "guess"}):
        answer = await door.send("1", source="signed", **headers)
        assert answer.status_code == 401
        assert answer.json()["detail"] == "header x-signature: expected the secret"
    assert (await door.send("1", source="signed", **{"x-signature": "s3cret"})).status_code == 200
    assert profile.ids() == ["m1"]
    assert await door.refusals() == []


async def test_a_malformed_body_is_400_with_the_reason_and_stored(door: Door, profile: MemoryProfile) -> None:
    """Who sent it and who runs us both learn what was expected."""
    answer = await door.send("{nonsense")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == "line: expected JSON"
    (stored,) = await door.refusals()
    assert (stored["raw"], stored["reason"]) == ("{nonsense", "line: expected JSON")
    assert profile.ids() == []


async def test_a_source_that_keeps_nothing_leaves_no_value_on_the_disk(door: Door, profile: MemoryProfile) -> None:
    """Neither of a body that cannot be read, nor of one at which the connector fails, nor of a bad part of it."""
    for body in ('{"passport": "K1234567"', "fail\nK1234567", "bad K1234567\n1"):
        await door.send(body, source="closed")
    stored = await door.refusals()
    assert [one["reason"] for one in stored] == [
        "expected a fact",
        "the connector failed with KeyError",
        "line: expected JSON",
    ]
    assert json.loads(stored[1]["raw"])["not_kept"]["bytes"] == len("fail\nK1234567")
    data = door.collector.settings.data_dir
    assert not any(b"K1234567" in path.read_bytes() for path in data.iterdir() if path.is_file())
    assert profile.ids() == ["m1"]


@pytest.mark.parametrize(
    ("mischief", "reason"),
    [
        ("fail", "the connector failed with KeyError"),
        ("leave", "the connector failed with SystemExit"),
        ("misfit", "source web: expected another colour"),
        ("gorge", "reading it needs more memory than a worker may use"),
    ],
)
async def test_a_connector_that_fails_costs_one_payload(door: Door, mischief: str, reason: str) -> None:
    """The client's mistake or the plugin's, it is a 4xx, stored, and its reason repeats no value."""
    answer = await door.send(f"{mischief}\n1")
    assert (answer.status_code, answer.json()["detail"]) == (422, reason)
    (stored,) = await door.refusals()
    assert (stored["raw"], stored["reason"]) == (f"{mischief}\n1", reason)
    assert (await door.send("1")).status_code == 200


async def test_an_answer_cannot_smuggle_headers(door: Door) -> None:
    """Line ends in a connector's headers make the payload fail, not the client."""
    answer = await door.client.post("/in/web/odd", content="1")
    assert answer.status_code == 422
    assert "x-smuggled" not in answer.headers


@pytest.mark.parametrize("status", ["204", "304", "99", "600", "200.5"])
async def test_an_answer_that_is_no_http_makes_the_payload_fail(
    door: Door, profile: MemoryProfile, status: str
) -> None:
    """Before anything is stored: a status that does not exist, or that has no body and comes with one."""
    answer = await door.client.post("/in/web/odd", params={"status": status}, content="1")
    assert answer.status_code == 422
    assert profile.ids() == []


async def test_a_route_below_the_source_gets_query_and_answers_its_own(door: Door) -> None:
    """Handshakes and scripts are served by the connector, slashes at the ends make no difference."""
    for path in ("/in/web/hello", "/in/web/hello/"):
        answer = await door.client.get(path, params={"name": "ada"})
        assert (answer.status_code, answer.text, answer.headers["x-seen"]) == (200, "ada", "yes")
        assert "sima-accepted" not in answer.headers


@pytest.mark.parametrize("path", ["/in/nobody", "/in/web/nowhere", "/in/files", "/nowhere", "/in"])
async def test_an_unknown_address_is_404(door: Door, path: str) -> None:
    """So is an unknown path of a known source, and a source that is not pushed to."""
    assert (await door.client.post(path, content="1")).status_code == 404


async def test_a_wrong_method_is_405_and_names_the_right_ones(door: Door) -> None:
    """Also for methods that nobody ever uses."""
    answer = await door.client.put("/in/web", content="1")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert (await door.client.request("BREW", "/in/web")).status_code == 405


async def test_a_body_that_is_too_large_is_413(settings: Callable[..., CollectorSettings], open_door: OpenDoor) -> None:
    """Whether its length is announced or only found out while it streams."""
    door = await open_door(settings(body_bytes=1_000))

    async def stream() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"1\n" * 50

    assert (await door.send(b"1" * 1_001)).status_code == 413
    assert (await door.client.post("/in/web", content=stream())).status_code == 413
    assert (await door.send(b"1\n" * 500)).status_code == 200


@pytest.mark.parametrize("path", ["/in/web", "/import/files"])
async def test_a_compressed_body_is_415(door: Door, path: str) -> None:
    """Who sends one reads that it is the encoding, and not that it is no payload of the channel."""
    headers = {"authorization": "Bearer let-me", "content-encoding": "gzip"}
    answer = await door.client.post(path, content=gzip.compress(b"1"), headers=headers)
    assert (answer.status_code, answer.json()["detail"]) == (
        415,
        "expected the body as it is, without a Content-Encoding",
    )
    assert (await door.client.post("/in/web", content="1", headers={"content-encoding": "identity"})).status_code == 200


async def test_more_bodies_than_memory_are_503(settings: Callable[..., CollectorSettings], open_door: OpenDoor) -> None:
    """What is being read at once is bounded, and room comes back."""
    door = await open_door(settings(bodies_bytes=1_000))
    answer = await door.send(b"1" * 1_001)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert (await door.send("1")).status_code == 200


async def test_more_requests_than_allowed_are_503(
    settings: Callable[..., CollectorSettings], open_door: OpenDoor, profile: MemoryProfile
) -> None:
    """The excess is told to come back, the others are served, and probes hear that all is well."""
    door = await open_door(settings(requests=3))
    profile.hold.clear()
    waiting = [asyncio.create_task(door.send(f"{n}")) for n in range(3)]
    await asyncio.sleep(0.3)
    answer = await door.send("4")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    probes = [await door.client.get(path) for path in ("/healthz", "/readyz")]
    assert [probe.status_code for probe in probes] == [200, 200]
    profile.hold.set()
    assert [(await task).status_code for task in waiting] == [200, 200, 200]


async def test_a_deadline_that_passes_is_503_and_loses_nothing(
    settings: Callable[..., CollectorSettings], open_door: OpenDoor, profile: MemoryProfile
) -> None:
    """The channel comes again, and by then its facts may be stored already: each once."""
    door = await open_door(settings(answer_seconds=3.0))
    profile.hold.clear()
    answer = await door.send("1")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    profile.hold.set()
    await eventually(lambda: profile.ids() == ["m1"])
    assert (await door.send("1")).headers["sima-duplicates"] == "1"


async def test_a_full_room_for_refusals_turns_nobody_away(
    settings: Callable[..., CollectorSettings], open_door: OpenDoor, profile: MemoryProfile
) -> None:
    """Whoever sends nonsense to one source stops neither good facts nor bad ones beside them, in no workspace."""
    door = await open_door(settings(refusal_bytes=5_000))
    assert (await door.send("bad in another workspace\n1", source="branch")).status_code == 200
    assert {(await door.send("{" + f"{n:0100}")).status_code for n in range(30)} == {400}
    answer = await door.send("bad\n2")
    assert (answer.status_code, answer.headers["sima-refused"]) == (200, "1")
    assert profile.ids() == ["m1", "m2"]
    kept = await door.refusals()
    assert (kept[0]["raw"], kept[-1]["raw"]) == ("bad", "bad in another workspace")
    assert len(kept) < 30


async def test_every_answer_names_its_request(door: Door) -> None:
    """With that name the log can be searched."""
    answers = [await door.send("1"), await door.send("{"), await door.client.get("/nowhere")]
    assert len({answer.headers["sima-request-id"] for answer in answers}) == 3


async def test_a_surprise_can_be_found_in_the_log(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client gets a request id and no text; under that id the log tells type and place, but no text either."""

    async def take(*_: object) -> None:
        raise KeyError("secret-value")

    monkeypatch.setattr(door.collector.intake, "take", take)
    log = CapturingLogger()
    monkeypatch.setattr("sima_collector.access._log", log)
    answer = await door.send("1")
    assert (answer.status_code, answer.json()["detail"]) == (500, "internal error")
    found = {call.args[0]: dict(call.kwargs) for call in log.calls}
    assert {line["request_id"] for line in found.values()} == {answer.headers["sima-request-id"]}
    assert found["request"]["status"] == 500
    told = json.dumps(describe_exception(None, "", found["surprise"]))
    assert "KeyError" in told
    assert "secret-value" not in told


async def test_a_fact_is_bytes_that_anybody_can_read(door: Door, profile: MemoryProfile) -> None:
    """What arrives is the contract's own message, with the connector's time and properties."""
    await door.send(line("m1", ("user_id", "u1"), total=12.5))
    fact: Fact = profile.received[0]
    assert fact.occurred_at.ToJsonString() == "2026-01-01T00:00:00Z"
    assert json.loads(fact.event.properties) == {"total": 12.5}

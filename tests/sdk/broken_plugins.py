"""Plugins with one fault each, as test modules: a good one of every sort, and by what each fault is found.

A table of faults maps a fault to the promise that it breaks and to the code that commits it, which stands in the good
plugin in the place of `FAULT`.
"""

from textwrap import dedent, indent

PUSH = """
import itertools, json, math, pytest
from dataclasses import replace
from datetime import datetime
from sima_sdk import *
from sima_sdk.facts import identifiers
from sima_sdk.payload import parse_object
from sima_sdk.signatures import check_proof, hmac_sha256
from sima_sdk.testing.push import PushConnectorContract, PushSubject, Sample

COUNT = itertools.count()

class Good(PushConnector):
    name = "bell"
    routes = (Route("POST", "/ring"),)

    def receive(self, request, source):
        self.prove(request, source)
        fact = self.fact(parse_object(request.body))
        return Reception((fact,))

    def prove(self, request, source):
        proof = hmac_sha256(source.secret("bell"), request.body).hex()
        check_proof(request.headers.get("x-bell"), proof, "header x-bell")

    def fact(self, ring):
        return Fact(
            ring.require(ring.reference, "id"),
            identifiers(("email", ring.require(ring.text, "email"))),
            ring.require(ring.time, "at"),
            Event("bell_rung", {"loud": ring.number("loud")}),
        )

class Bell(Good):
    pass
FAULT

def sign(request, source):
    return replace(request, headers={"x-bell": hmac_sha256(source.secret("bell"), request.body).hex()})

def ring(number):
    ring = {"id": number, "email": "ada@example.com", "at": "2026-01-01T00:00:00Z", "loud": 3.5}
    return Request("POST", "/ring", body=json.dumps(ring).encode())

class TestBell(PushConnectorContract):
    @pytest.fixture
    def subject(self):
        samples = (Sample("ring", ring(7)), Sample("another ring", ring(8)))
        return PushSubject(Bell(), Source("door", secrets={"bell": "secret"}), samples, sign)
"""

PUSH_FAULTS = {
    "a route that it does not name": (
        "test_it_has_a_name_and_routes",
        'routes = (Route("POST", "/knock"),)',
    ),
    "a route without any sample": (
        "test_it_has_a_name_and_routes",
        'routes = (Route("POST", "/ring"), Route("POST", "/knock"))',
    ),
    "a check that no source passes": (
        "test_its_source_is_taken",
        'def check(self, source): raise FixConfigurationError("no")',
    ),
    "a fact too many": (
        "test_real_requests_become_facts",
        """
        def receive(self, request, source):
            fact = super().receive(request, source).facts[0]
            return Reception((fact, replace(fact, message_id="again")))
        """,
    ),
    "a bad answer to a good request": (
        "test_real_requests_become_facts",
        """
        def receive(self, request, source):
            return replace(super().receive(request, source), response=Response(500))
        """,
    ),
    "facts about nobody": (
        "test_facts_are_sound",
        "def fact(self, ring): return replace(super().fact(ring), identifiers=())",
    ),
    "identifiers that are no texts": (
        "test_facts_are_sound",
        'def fact(self, ring): return replace(super().fact(ring), identifiers=(Identifier("user_id", 7),))',
    ),
    "a time without zone": (
        "test_facts_are_sound",
        "def fact(self, ring): return replace(super().fact(ring), occurred_at=datetime(2026, 1, 1))",
    ),
    "properties that are no JSON": (
        "test_facts_are_sound",
        'def fact(self, ring): return replace(super().fact(ring), event=Event("rung", {"loud": {1, 2}}))',
    ),
    "an infinite number": (
        "test_facts_are_sound",
        'def fact(self, ring): return replace(super().fact(ring), event=Event("rung", {"loud": math.inf}))',
    ),
    "an event without name": (
        "test_facts_are_sound",
        'def fact(self, ring): return replace(super().fact(ring), event=Event(" "))',
    ),
    "a trait that is a list": (
        "test_facts_are_sound",
        'def fact(self, ring): return replace(super().fact(ring), traits=(Trait("rings", [1]),))',
    ),
    "a consent that is a text": (
        "test_facts_are_sound",
        'def fact(self, ring): return replace(super().fact(ring), consents=(Consent("ringing", "no"),))',
    ),
    "one message id for two facts": (
        "test_facts_are_sound",
        """
        def receive(self, request, source):
            fact = super().receive(request, source).facts[0]
            return Reception((fact, replace(fact, event=None)))
        """,
    ),
    "one message id for facts of two requests": (
        "test_a_message_id_means_one_fact",
        """
        def fact(self, ring):
            return replace(super().fact(ring), message_id="ring", event=Event(f"ring_{ring.reference('id')}"))
        """,
    ),
    "another message id with every retry": (
        "test_a_retry_says_the_same",
        "def fact(self, ring): return replace(super().fact(ring), message_id=str(next(COUNT)))",
    ),
    "no demand for a proof": (
        "test_a_request_without_proof_is_refused",
        """
        def prove(self, request, source):
            if "x-bell" in request.headers: super().prove(request, source)
        """,
    ),
    "any proof is good": (
        "test_a_request_with_a_wrong_proof_is_refused",
        """
        def prove(self, request, source):
            if "x-bell" not in request.headers: raise SignatureError("header x-bell: expected a proof")
        """,
    ),
    "a proof that holds for any body": (
        "test_a_changed_body_is_refused",
        """
        def prove(self, request, source):
            super().prove(replace(request, body=request.body.rstrip()), source)
        """,
    ),
    "an exception of its own": (
        "test_what_is_no_payload_is_refused",
        """
        def receive(self, request, source):
            self.prove(request, source)
            return Reception((Fact(json.loads(request.body)["id"], (Identifier("email", "ada@example.com"),)),))
        """,
    ),
    "a field that is taken on trust": (
        "test_mutated_payloads_break_nothing",
        """
        def fact(self, ring):
            return replace(super().fact(ring), event=Event("rung", {"loud": round(ring.json()["loud"] * 2)}))
        """,
    ),
    "a reason that repeats a value": (
        "test_mutated_payloads_break_nothing",
        """
        def fact(self, ring):
            if ring.text("at") and "T" not in ring.text("at"): raise PayloadError(f"at: {ring.text('at')} is no time")
            return super().fact(ring)
        """,
    ),
    "a payload dropped in silence": (
        "test_mutated_payloads_break_nothing",
        """
        def receive(self, request, source):
            self.prove(request, source)
            ring = parse_object(request.body)
            return Reception((self.fact(ring),) if "email" in ring and "id" in ring and "at" in ring else ())
        """,
    ),
}

PULL = """
import itertools, pytest
from dataclasses import replace
from sima_sdk import *
from sima_sdk.files import in_pages, one_by_one, read_csv
from sima_sdk.testing.kinds import IdentifierKindContract
from sima_sdk.testing.pull import PullConnectorContract, PullSubject

COUNT = itertools.count()

class Good(PullConnector):
    name = "guests"

    def pull(self, source, file, checkpoint=""):
        return in_pages(one_by_one(read_csv(file, source, ["mail"])), self.fact, checkpoint)

    def fact(self, records):
        values = records[0].values
        if "@" not in values["mail"]:
            raise PayloadError("mail: expected an address")
        return Fact(records[0].message_id, (Identifier("email", values["mail"]),), event=Event("visited"))

class Guests(Good):
    pass
FAULT

class TestGuests(PullConnectorContract):
    @pytest.fixture
    def subject(self):
        content = b"mail,table\\nada@example.com,1\\nada@example.com,1\\nbob@example.com,2\\nnobody,3\\n"
        return PullSubject(Guests(), Source("book"), content, facts=3, refusals=1)
"""

PULL_FAULTS = {
    "a check that no source passes": (
        "test_its_source_is_taken",
        'def check(self, source): raise FixConfigurationError("no")',
    ),
    "records that are lost": (
        "test_a_real_file_becomes_facts",
        """
        def pull(self, source, file, checkpoint=""):
            return (replace(page, facts=page.facts[1:]) for page in super().pull(source, file, checkpoint))
        """,
    ),
    "facts about nobody": (
        "test_facts_are_sound",
        "def fact(self, records): return replace(super().fact(records), identifiers=())",
    ),
    "other message ids with every reading": (
        "test_reading_again_says_the_same",
        "def fact(self, records): return replace(super().fact(records), message_id=str(next(COUNT)))",
    ),
    "message ids that say where the file lies": (
        "test_reading_again_says_the_same",
        """
        def pull(self, source, file, checkpoint=""):
            for page in super().pull(source, file, checkpoint):
                yield replace(page, facts=tuple(replace(f, message_id=f"{file}:{f.message_id}") for f in page.facts))
        """,
    ),
    "one message id for identical records": (
        "test_every_record_is_a_message",
        "def fact(self, records): return replace(super().fact(records), message_id=records[0].values['mail'])",
    ),
    "no message ids": (
        "test_every_record_is_a_message",
        "def fact(self, records): return replace(super().fact(records), message_id='')",
    ),
    "everything in one page": (
        "test_a_long_file_comes_in_pages",
        """
        def pull(self, source, file, checkpoint=""):
            pages = list(super().pull(source, file, checkpoint))
            facts = tuple(fact for page in pages for fact in page.facts)
            refusals = tuple(refusal for page in pages for refusal in page.refusals)
            if pages: yield Page(facts, refusals, pages[-1].checkpoint)
        """,
    ),
    "a start from the beginning every time": (
        "test_a_stopped_pull_goes_on",
        "def pull(self, source, file, checkpoint=''): return super().pull(source, file)",
    ),
    "an empty file that is taken": (
        "test_an_empty_file_is_refused",
        """
        def pull(self, source, file, checkpoint=""):
            return super().pull(source, file, checkpoint) if file.stat().st_size else iter(())
        """,
    ),
    "a reason that repeats a value": (
        "test_mutated_files_break_nothing",
        """
        def fact(self, records):
            if not records[0].values["table"].isdigit(): raise PayloadError("table: " + records[0].values["table"])
            return super().fact(records)
        """,
    ),
    "a field that is taken on trust": (
        "test_mutated_files_break_nothing",
        """
        def fact(self, records):
            return replace(super().fact(records), event=Event("visited", {"table": int(records[0].values["table"])}))
        """,
    ),
}

FUNCTION = """
import itertools, pytest
from sima_sdk import SegmentFunction
from sima_sdk.testing.functions import FunctionSubject, SegmentFunctionContract

COUNT = itertools.count()

def expand(days):
    if not days > 0:
        raise ValueError("days: expected a number above 0")
    return f'events("visited").within("{days}d").exists()'

name, summary = "guests.recent", "Whether somebody visited lately."
FAULT

class TestFunction(SegmentFunctionContract):
    @pytest.fixture
    def subject(self):
        return FunctionSubject(SegmentFunction(name, summary, expand), calls=((7,), (30,)), wrong_calls=((0,),))
"""

FUNCTION_FAULTS = {
    "a name without its plugin": ("test_it_can_be_called_and_found", 'name = "recent"'),
    "a summary of several lines": ("test_it_can_be_called_and_found", 'summary = "Whether\\nlately."'),
    "no summary": ("test_it_can_be_called_and_found", 'summary = " "'),
    "a bracket that stays open": (
        "test_a_call_becomes_one_expression",
        'expand = lambda days: f"(traits.days > {days}"',
    ),
    "a bracket never opened": ("test_a_call_becomes_one_expression", 'expand = lambda days: f"traits.days > {days})"'),
    "a quote that stays open": ("test_a_call_becomes_one_expression", "expand = lambda days: f'segment(\"{days})'"),
    "no text": ("test_a_call_becomes_one_expression", "expand = lambda days: days"),
    "a text that changes": ("test_the_same_call_means_the_same", 'expand = lambda days: f"traits.n > {next(COUNT)}"'),
    "a call that makes no sense": ("test_a_wrong_call_is_explained", 'expand = lambda days: f"traits.n > {days}"'),
}

KIND = """
import itertools, pytest
from sima_sdk import IdentifierKind, InvalidIdentifierError
from sima_sdk.testing.kinds import IdentifierKindContract, KindSubject

COUNT = itertools.count()

def number(value, region):
    digits = "".join(character for character in value if character in "0123456789")
    if len(digits) != 4:
        raise InvalidIdentifierError("locker: expected four digits")
    return digits

normalise = number
FAULT

class TestLocker(IdentifierKindContract):
    @pytest.fixture
    def subject(self):
        return KindSubject(
            IdentifierKind("locker", normalise, 50, strong=True),
            spellings={"12-34": "1234", " 1234 ": "1234"},
            wrong=("", "12", "north"),
        )
"""

KIND_FAULTS = {
    "a spelling that stays as it is": (
        "test_every_spelling_has_its_normal_form",
        "normalise = lambda value, region: value if number(value, region) else ''",
    ),
    "a normal form of the normal form": (
        "test_a_normal_form_is_its_own",
        "normalise = lambda value, region: '12 34' if value == '1234' else number(value, region)",
    ),
    "anything goes": (
        "test_a_wrong_value_is_refused",
        "normalise = lambda value, region: number(value, region) if '1' in value else '1234'",
    ),
    "an exception of its own": (
        "test_mutated_values_break_nothing",
        "normalise = lambda value, region: number(value, region) if value.encode() else ''",
    ),
    "a reason that repeats the value": (
        "test_mutated_values_break_nothing",
        """
        def normalise(value, region):
            if "@" in value: raise InvalidIdentifierError(f"locker: {value} is none")
            return number(value, region)
        """,
    ),
}


#: Subjects that leave a promise nothing to look at: what is missing, and how it is cut out of which good test module.
TOO_LITTLE = {
    "samples": (PUSH, '(Sample("ring", ring(7)), Sample("another ring", ring(8)))', "()"),
    "facts of all samples": (PUSH, ', Sample("another ring", ring(8))', ","),
    "facts": (PULL, "facts=3", "facts=1"),
    "calls": (FUNCTION, "calls=((7,), (30,)), wrong", "calls=(), wrong"),
    "wrong_calls": (FUNCTION, ", wrong_calls=((0,),)", ""),
    "spellings": (KIND, '{"12-34": "1234", " 1234 ": "1234"}', "{}"),
    "wrong": (KIND, '("", "12", "north")', "()"),
}


def plugin(template: str, fault: str = "") -> str:
    """Return a test module with a plugin that has a fault: a method of its class, or a line of its own."""
    code = dedent(fault)
    return template.replace("FAULT", indent(code, "    ") if "class Good" in template else code)

"""Nothing that somebody else wrote, in a segment, in a file or in an error, steers the terminal of who reads it."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from sima.segment.v1.segment_service_pb2 import DESCRIPTOR, GetSegmentRequest, GetSegmentResponse, RuleProblem, Segment
from sima_cli.commands import imports
from sima_cli.errors import RefusedError
from sima_cli.imports import COUNTS, Imported, Reason
from sima_cli.main import app
from sima_cli.output import rule_problems
from typer.testing import CliRunner, Result

from tests.cli.conftest import serving

EVIL = "\x1b]0;pwned\x07\u202e[red]"
SHOWN = "\\u001b]0;pwned\\u0007\\u202e[red]"


def get_segment(request: GetSegmentRequest, _: object) -> GetSegmentResponse:
    """Return a segment of somebody who means no good."""
    return GetSegmentResponse(segment=Segment(name=request.name, rule=f"first ||\n  '{EVIL}'", description=EVIL))


@pytest.fixture
def segment_address() -> Iterator[str]:
    """Where that segment is."""
    service = DESCRIPTOR.services_by_name["SegmentService"].full_name
    method = grpc.unary_unary_rpc_method_handler(
        get_segment, GetSegmentRequest.FromString, GetSegmentResponse.SerializeToString
    )
    with serving(service, {"GetSegment": method}) as address:
        yield address


def test_a_segment_is_shown_as_what_it_is(segment_address: str) -> None:
    """Its rule keeps its lines."""
    said = CliRunner().invoke(app, ["--segment", segment_address, "segment", "show", "vip"]).stdout
    assert f"  first ||\n  '{SHOWN}'\n  {SHOWN}\n" in said
    assert not set("\x1b\x07\u202e") & set(said)


def imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: int) -> Result:
    """Import a file of two records, so many of which the collector refuses."""

    async def import_file(*_: object) -> Imported:
        return Imported(dict.fromkeys(COUNTS, 0) | {"accepted": 2 - refused, "refused": refused}, resumed=True)

    async def refusal_reasons(*_: object) -> list[Reason]:
        return [Reason(f"message {EVIL}: unreadable")]

    monkeypatch.setattr(imports, "import_file", import_file)
    monkeypatch.setattr(imports, "refusal_reasons", refusal_reasons)
    (tmp_path / "token").write_text("token")
    (tmp_path / "\x1b[2J.csv").touch()
    options = ["--collector", "http://127.0.0.1:1", "--import-token-file", str(tmp_path / "token")]
    return CliRunner().invoke(app, [*options, "import", "crm", str(tmp_path / "\x1b[2J.csv")])


@pytest.mark.parametrize("refused", [1, 2], ids=["a part", "all"])
def test_why_records_are_refused_is_shown_as_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: int
) -> None:
    """Message ids, reasons and names of files, whether the command succeeds or fails."""
    result = imported(tmp_path, monkeypatch, refused)
    assert result.exit_code == (3 if refused == 2 else 0)
    assert f"\\u001b[2J.csv, message {SHOWN}: unreadable\n" in result.stderr
    assert not set("\x1b\x07\u202e") & set(result.output)


def test_why_a_command_fails_is_shown_as_what_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The lines of the text stay lines."""

    async def import_file(*_: object) -> Imported:
        raise RefusedError(f"first line\n{EVIL}")

    monkeypatch.setattr(imports, "import_file", import_file)
    (tmp_path / "token").write_text("token")
    options = ["--collector", "http://127.0.0.1:1", "--import-token-file", str(tmp_path / "token")]
    result = CliRunner().invoke(app, [*options, "import", "crm", str(tmp_path / "token")])
    assert result.stderr.endswith(f"first line\n{SHOWN}\n")


def test_mistakes_in_a_rule_stand_under_what_is_shown() -> None:
    """Also behind signs that are shown as what they are."""
    lines = rule_problems(f"'{EVIL}' + y", [RuleProblem(message="here", line=1, column=len(EVIL) + 6)]).splitlines()
    assert lines == [f"  '{SHOWN}' + y", f"  {' ' * len(SHOWN)}     ^ here"]

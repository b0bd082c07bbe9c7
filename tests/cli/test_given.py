"""Where Sima is, as people say it: what cannot be an address or a file of authorities is wrong use, not an outage."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from sima.profile.v1.profile_service_pb2 import DESCRIPTOR
from sima_cli.__main__ import main
from sima_cli.main import app
from typer.testing import CliRunner, Result

from tests.cli.conftest import serving


def asked(*options: str) -> Result:
    """What comes of asking for somebody with these options."""
    return CliRunner().invoke(app, [*options, "profile", "get", "email:ada@example.com"])


def said(*options: str) -> tuple[int, str]:
    """The exit code and what is printed on standard error, on one line without its frame."""
    result = asked(*options)
    return result.exit_code, re.sub(r"[\s│╭╮╰╯─]+", " ", result.stderr)


@pytest.mark.parametrize("address", ["localhost", "http://localhost:8443", "localhost:https", ":8443", "", "a b:1"])
def test_a_grpc_address_has_host_and_port(address: str) -> None:
    """The option and the expectation are named."""
    code, text = said("--profile", address)
    assert code == 2
    assert "'--profile'" in text
    assert "expected host:port" in text


@pytest.mark.parametrize("address", ["127.0.0.1:1", "[::1]:1", "localhost:1", "dns:///localhost:1", "unix:/nowhere"])
def test_an_address_at_which_nobody_is_does_not_answer(address: str) -> None:
    """All forms of addresses are tried."""
    assert said("--profile", address)[0] == 4


@pytest.mark.parametrize(
    "address", ["localhost:8080", "ftp://localhost", "http://", "", "http://[", "http://a:b", "collector"]
)
def test_the_address_of_the_collector_is_one_of_http(address: str) -> None:
    """The option and the expectation are named."""
    code, text = said("--collector", address)
    assert code == 2
    assert "'--collector'" in text
    assert "expected http:// or https://" in text


def test_authorities_are_certificates(tmp_path: Path) -> None:
    """A file without any is named, rather than that nobody answers."""
    file = tmp_path / "ca.pem"
    file.write_text("no certificate")
    code, text = said("--ca-file", str(file))
    assert code == 2
    assert "'--ca-file'" in text
    assert "expected certificates in PEM" in text


@pytest.mark.parametrize("name", ["é", "main\n", "MAIN", "-main", "", "\udcff", "x" * 64])
def test_a_workspace_has_a_name_as_the_services_want_it(name: str) -> None:
    """What can be none is wrong use, before anybody is asked."""
    code, text = said("--profile", "127.0.0.1:1", f"--workspace={name}")
    assert code == 2
    assert "'--workspace'" in text
    assert "expected at most 63 small letters" in text


@pytest.mark.parametrize("content", [b"\xff\x00", "пароль".encode(), b"", b"two\nlines"])
def test_a_file_without_a_token_is_named(tmp_path: Path, content: bytes) -> None:
    """No request is made with what cannot be one, and what it holds is not repeated."""
    file = tmp_path / "token"
    file.write_bytes(content)
    options = ["--collector", "http://127.0.0.1:1", "--import-token-file", str(file)]
    result = CliRunner().invoke(app, [*options, "import", "crm", str(file)])
    assert result.exit_code == 2
    assert result.stderr == f"✗ --import-token-file: expected one token, in ASCII, in {file}.\n"


@pytest.mark.parametrize("content", [b"\xff\x00", b"", b"two\nlines"])
def test_a_file_without_a_token_for_the_services_is_named(tmp_path: Path, content: bytes) -> None:
    """By the option that was given; what it holds is not repeated."""
    file = tmp_path / "token"
    file.write_bytes(content)
    result = asked("--profile", "127.0.0.1:1", "--token-file", str(file))
    assert (result.exit_code, result.stderr) == (2, f"✗ --token-file {file} must hold one token.\n")


def test_a_certificate_without_its_key_is_told_in_options(tmp_path: Path) -> None:
    """Nobody at a keyboard knows the settings of a client."""
    file = tmp_path / "cert.pem"
    file.touch()
    result = asked("--profile", "127.0.0.1:1", "--cert-file", str(file))
    assert result.exit_code == 2
    assert result.stderr == f"✗ --cert-file {file} and --key-file must be set together.\n"


@pytest.fixture
def closed_address() -> Iterator[str]:
    """Where a service is to which no token is good enough."""

    def refuse(_: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "")

    service = DESCRIPTOR.services_by_name["ProfileService"].full_name
    with serving(service, {"GetProfile": grpc.unary_unary_rpc_method_handler(refuse)}) as address:
        yield address


def test_who_gave_no_token_learns_that_one_is_wanted(closed_address: str) -> None:
    """With the option, and the variable, that gives it."""
    result = asked("--profile", closed_address)
    assert result.exit_code == 3
    assert result.stderr == "✗ profile wants a token; give one with --token-file or SIMA_TOKEN_FILE.\n"


def test_who_gave_a_token_learns_that_another_is_wanted(closed_address: str, tmp_path: Path) -> None:
    """A token was there, and it was the wrong one."""
    file = tmp_path / "token"
    file.write_text("token")
    result = asked("--profile", closed_address, "--token-file", str(file))
    assert result.exit_code == 3
    assert result.stderr.startswith("✗ profile wants another token;")


def test_an_update_of_nothing_is_wrong_use() -> None:
    """It says what can be given, before anybody is asked."""
    result = CliRunner().invoke(app, ["--segment", "127.0.0.1:1", "segment", "update", "vip"])
    assert result.exit_code == 2
    assert "'--rule' or '--description'" in result.stderr


def test_ctrl_c_while_the_command_is_loaded_shows_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends as an interrupted command does."""

    class Interrupted:
        def __getattr__(self, _: str) -> object:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "sima_cli.main", Interrupted())
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130

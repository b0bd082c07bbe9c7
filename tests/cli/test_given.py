"""Where Sima is, as people say it: what cannot be an address or a file of authorities is wrong use, not an outage."""

import re
import sys
from pathlib import Path

import pytest
from sima_cli.__main__ import main
from sima_cli.main import app
from typer.testing import CliRunner


def said(*arguments: str) -> tuple[int, str]:
    """The exit code and what is printed on standard error, on one line without its frame."""
    result = CliRunner().invoke(app, [*arguments, "profile", "get", "email:ada@example.com"])
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

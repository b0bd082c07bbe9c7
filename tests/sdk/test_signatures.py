"""Proofs of origin."""

import hashlib
import hmac

import pytest
from sima_sdk.connectors import Request
from sima_sdk.errors import SignatureError
from sima_sdk.signatures import bearer_token, check_proof, hmac_sha256


def test_the_signature_is_that_of_the_raw_body() -> None:
    """The bytes as they came are signed, whatever they mean."""
    assert hmac_sha256("secret", b"\xff{}").hex() == hmac.new(b"secret", b"\xff{}", hashlib.sha256).hexdigest()


def test_the_right_proof_passes() -> None:
    """Equal is equal, in any alphabet."""
    check_proof("سر", "سر", "header x")


@pytest.mark.parametrize("given", [None, "", "secreT", "secret ", "\ud800", "سر"])
def test_any_other_proof_is_refused(given: str | None) -> None:
    """Nothing but the proof itself passes; the error names the place and neither of the two."""
    with pytest.raises(SignatureError, match=r"^header x: expected") as error:
        check_proof(given, "secret", "header x")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("header", "token"),
    [("Bearer abc", "abc"), ("bearer  abc ", "abc"), ("Basic abc", None), ("Bearer ", None), ("abc", None), ("", None)],
)
def test_the_bearer_token_is_found(header: str, token: str | None) -> None:
    """Only the scheme Bearer carries a token."""
    assert bearer_token(Request("POST", "", {"authorization": header})) == token
    assert bearer_token(Request("POST", "")) is None

"""Proofs of origin, compared in constant time."""

import hmac

from sima_sdk.connectors import Request
from sima_sdk.errors import SignatureError


def hmac_sha256(secret: str, body: bytes) -> bytes:
    """Return the HMAC-SHA256 of the raw body, as most webhooks are signed."""
    return hmac.digest(secret.encode(), body, "sha256")


def check_proof(given: str | None, expected: str, what: str) -> None:
    """Compare what a request shows with what it must show, without telling by the time taken how near it came.

    Args:
        given: From the request; None if it shows nothing.
        expected: Computed here, or a shared secret.
        what: Names the proof in the error, for example `header x-hub-signature-256`.

    Raises:
        SignatureError: They differ.
    """
    if given is None or not hmac.compare_digest(_bytes(given), _bytes(expected)):
        raise SignatureError(f"{what}: expected the proof that only the channel can give")


def bearer_token(request: Request) -> str | None:
    """Return the token of `Authorization: Bearer TOKEN`, or None."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _bytes(text: str) -> bytes:
    # compare_digest takes only ASCII as text, and a header may hold anything.
    return text.encode("utf-8", "surrogatepass")

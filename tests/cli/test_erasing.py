"""`sima identity erase` waits as long as it takes."""

from pathlib import Path
from typing import Any

import grpc
from sima.identity.v1 import identity_service_pb2 as pb
from sima_cli.calls import PATIENCE_SECONDS
from sima_cli.main import app
from typer.testing import CliRunner

from .conftest import serving


def test_a_hub_may_take_longer_than_any_other_call(tmp_path: Path) -> None:
    """It has millions of edges: the service is given as long as for a preview, and not the default deadline."""
    given: list[float] = []

    def answer(_: bytes, context: grpc.ServicerContext) -> bytes:
        given.append(context.time_remaining() or 0)
        return pb.EraseIdentifiersResponse(identifiers_erased=1).SerializeToString()

    handler: grpc.RpcMethodHandler[Any, Any] = grpc.unary_unary_rpc_method_handler(answer)
    with serving("sima.identity.v1.IdentityService", {"EraseIdentifiers": handler}) as address:
        where = ["--data-dir", str(tmp_path), "--workspace", "w", "--identity", address]
        erase = ["identity", "erase", "phone:+966551000001", "--reason", "a hub", "--yes"]
        done = CliRunner().invoke(app, [*where, *erase])
    assert "Erased 1 known" in done.stdout
    assert "brings them back: remove them there first" in done.stdout
    assert given[0] > PATIENCE_SECONDS / 2

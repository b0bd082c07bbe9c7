"""Rules of identity from a file, told to the service; what it does not take is told as a place in the file."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from sima.identity.v1 import identity_service_pb2 as pb
from sima.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from sima_runtime.errors import InvalidFieldsError

from sima_cli.calls import Calls
from sima_cli.config import RulesFile
from sima_cli.connection import Connection
from sima_cli.folder import Running
from sima_cli.rules import place_in_file, to_message

if TYPE_CHECKING:
    from sima.identity.v1.identity_service_pb2_grpc import IdentityServiceAsyncStub

    IdentityCalls = Calls[IdentityServiceAsyncStub]


@contextmanager
def telling_of_file(file: RulesFile) -> Iterator[None]:
    """Name places in the file where the service names fields of its rules."""
    try:
        yield
    except InvalidFieldsError as error:
        raise InvalidFieldsError(
            replace(violation, field=_place(violation.field, file)) for violation in error.violations
        ) from None


async def set_rules(
    service: "IdentityCalls", file: RulesFile, deciding: pb.Deciding, **options: int | bool | None
) -> pb.PolicyVersion:
    """Set the rules; `options` are further fields of the request. Raises what the call raises."""
    request = pb.SetIdentityPolicyRequest(policy=to_message(file.rules), deciding=deciding, **options)  # type: ignore[arg-type]
    with telling_of_file(file):
        return (await service.call(service.stub.SetIdentityPolicy, request)).policy


async def put_in_force(file: RulesFile, running: Running) -> str:
    """Set the rules of the workspace of a `sima up`, unless they are in force; return what to tell people of it."""
    connection = Connection(Path(), identity=running.identity, workspace=running.workspace)
    deciding = pb.Deciding(actor="sima.yaml", reason="the file says so at the start", request_id=uuid4().hex)
    async with connection.calls("identity", IdentityServiceStub) as service:
        version = await set_rules(service, file, deciding, unless_in_force=True)
    if version.request_id != deciding.request_id:
        return f"The rules of {file.name} are in force already"
    return f"The rules of {file.name} are in force as version {version.version}; what is stored follows"


def _place(field: str, file: RulesFile) -> str:
    return f"{file.name}: {place_in_file(field, file.rules)}" if field.startswith("policy") else field

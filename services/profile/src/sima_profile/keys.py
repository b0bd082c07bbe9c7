"""Reads by what a profile is asked for."""

from sima.profile.v1 import profile_service_pb2 as pb
from sima_runtime.errors import InvalidIdentifierError, Violations

from sima_profile.identity import KeyOrProfile
from sima_profile.validation import IdentifierReader, read_region


class KeyReader:
    """Reads identifiers and profile ids that callers ask by."""

    def __init__(self, identifiers: IdentifierReader) -> None:
        """Set up.

        Args:
            identifiers: Reads identifiers.
        """
        self._identifiers = identifiers

    def read(self, workspace: str, message: pb.ProfileKey, path: str) -> KeyOrProfile:
        """Return the identifier in its normal form, or the profile id.

        Args:
            workspace: In whose data.
            message: What the caller sent.
            path: Where it stands in the request.

        Raises:
            InvalidFieldsError: It is neither.
        """
        found = Violations()
        if message.WhichOneof("by") == "identifier":
            region = read_region(message.default_region, f"{path}.default_region", found)
            try:
                identifier = self._identifiers.read(workspace, message.identifier, region)
            except InvalidIdentifierError as error:
                found.add(f"{path}.identifier.{self._identifiers.fault(message.identifier)}", str(error))
            found.check()
            return identifier
        found.require(message.profile_id != "", path, "expected an identifier or a profile id")
        found.check()
        return message.profile_id

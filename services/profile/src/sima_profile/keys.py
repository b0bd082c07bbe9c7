"""Reads by what a profile is asked for."""

import re

from sima.profile.v1 import profile_service_pb2 as pb
from sima_runtime.errors import InvalidIdentifierError, Violations
from sima_runtime.wire import KeyedIdentifier

from sima_profile.identity import KeyOrProfile
from sima_profile.validation import IdentifierReader, read_region

_PROFILE_ID = re.compile("[0-9a-f]{32}")


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
        match message.WhichOneof("by"):
            case "identifier":
                return self._identifier(workspace, message, path)
            case "profile_id":
                known = _PROFILE_ID.fullmatch(message.profile_id) is not None
                found.require(known, f"{path}.profile_id", "expected a profile id: 32 hexadecimal digits")
            case _:
                found.add(path, "expected an identifier or a profile id")
        found.check()
        return message.profile_id

    def _identifier(self, workspace: str, message: pb.ProfileKey, path: str) -> KeyedIdentifier:
        found = Violations()
        region = read_region(message.default_region, f"{path}.default_region", found)
        try:
            identifier = self._identifiers.read(workspace, message.identifier, region)
        except InvalidIdentifierError as error:
            self._identifiers.note(message.identifier, region, f"{path}.identifier", str(error), found)
        found.check()
        return identifier

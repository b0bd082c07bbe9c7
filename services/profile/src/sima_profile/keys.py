"""Reads by what a profile is asked for."""

from sima.profile.v1 import profile_service_pb2 as pb
from sima_runtime.context import workspace_secret
from sima_runtime.errors import Violations
from sima_sdk.identifiers import IdentifierKinds

from sima_profile.identity import KeyOrProfile
from sima_profile.validation import IdentifierReader


class KeyReader:
    """Reads identifiers and profile ids that callers ask by."""

    def __init__(self, kinds: IdentifierKinds, master_key: bytes) -> None:
        """Set up.

        Args:
            kinds: The known kinds of identifiers.
            master_key: The key that the secrets of workspaces are made with.
        """
        self._kinds = kinds
        self._master_key = master_key

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
            reader = IdentifierReader(self._kinds, workspace_secret(self._master_key, workspace))
            identifier = reader.read(message.identifier, message.default_region, f"{path}.identifier", found)
            if identifier:
                return identifier
        else:
            found.require(message.profile_id != "", path, "expected an identifier or a profile id")
        found.check()
        return message.profile_id

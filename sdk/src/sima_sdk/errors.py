"""Every exception of the SDK, grouped by what the caller should do."""


class SimaError(Exception):
    """Root of all errors that Sima raises on purpose."""


class FixConfigurationError(SimaError):
    """A plugin or a setting is wrong; nothing runs until a person mends it."""


class RefuseRequestError(SimaError):
    """The whole request cannot be taken."""


class SignatureError(RefuseRequestError):
    """The request does not prove that it comes from the channel: answered with 401."""


class PayloadError(RefuseRequestError):
    """The body is not what the channel sends: answered with 400 and stored with this reason.

    The text names the field and what was expected, and never repeats a value.
    """


class RefuseValueError(SimaError):
    """One value cannot be taken; what stands beside it can."""


class InvalidIdentifierError(RefuseValueError):
    """An identifier has no normal form; the text says what was expected, without the value."""

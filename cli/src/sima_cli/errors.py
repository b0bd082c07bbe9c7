"""What ends a command: one exception per exit code."""


class CommandError(Exception):
    """Something that the person at the keyboard can mend; its text is all they see. Exit code 1."""

    exit_code = 1


class MisconfiguredError(CommandError):
    """Settings, sources or a given file make no sense. Exit code 2, as for wrong use of a command."""

    exit_code = 2


class RefusedError(CommandError):
    """The service refused what was asked: bad fields, a rule that does not compile, an unknown name. Exit code 3."""

    exit_code = 3


class UnreachableError(CommandError):
    """A service does not answer. Exit code 4."""

    exit_code = 4


class CrashedError(CommandError):
    """A process of the stack ended by itself. Exit code 5."""

    exit_code = 5

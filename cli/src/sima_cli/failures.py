"""From an exception to what a person reads: one paragraph, all violations, and an exit code."""

import asyncio
import functools
import sys
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec

import typer
from sima_runtime.errors import (
    AlreadyExistsError,
    ContradictionError,
    CursorExpiredError,
    DeadlineExceededError,
    InUseError,
    InvalidFieldsError,
    NotFoundError,
    RemoteError,
    RetryLaterError,
    SimaError,
    StaleVersionError,
)

from sima_cli.errors import CommandError, RefusedError, UnreachableError
from sima_cli.keys import is_profile_id
from sima_cli.output import err, harmless

P = ParamSpec("P")

EXIT_CODES = """[dim]Exit codes: 0 done · 1 not done, the text says why · 2 wrong use of the command or wrong \
settings · 3 refused: bad fields, a rule that does not compile, an unknown name, all of a file · 4 a service does not \
answer · 5 a process of `sima up` ended by itself · 130 interrupted before it was done[/dim]"""


def runs(command: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Make an asynchronous command a plain one, whose failures end it with a clear text and an exit code."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            asyncio.run(_awaited(command(*args, **kwargs)))
        except BrokenPipeError:
            sys.stderr.close()  # the reader of our output has seen enough
        except (CommandError, SimaError, OSError, UnicodeEncodeError) as error:
            failure = explained(error)
            err.print(f"[bold red]✗[/] {harmless(str(failure))}")
            raise typer.Exit(failure.exit_code) from None
        except KeyboardInterrupt:
            raise typer.Exit(130) from None

    return run


async def _awaited(command: Awaitable[None]) -> None:
    await command


def explained(error: CommandError | SimaError | OSError | UnicodeEncodeError) -> CommandError:
    """Return what to tell a person about an error, of a service or of this machine, with its exit code."""
    if isinstance(error, CommandError):
        return error
    explain = next((_EXPLANATIONS[kind] for kind in type(error).__mro__ if kind in _EXPLANATIONS), None)
    return explain(error) if explain else CommandError(f"{str(error)[:1].upper()}{str(error)[1:]}.")


def _system(error: OSError) -> CommandError:
    return CommandError(f"Sima cannot use {error.filename}: {error.strerror}." if error.filename else f"{error}.")


def _no_text(_: UnicodeEncodeError) -> CommandError:
    return RefusedError("Refused: something that was given is no text in UTF-8.")


def _too_long(error: TimeoutError) -> CommandError:
    return UnreachableError(f"It took too long{f': {error}' if str(error) else ''}.")


def _invalid_fields(error: InvalidFieldsError) -> CommandError:
    lines = [f"  {violation.field}: {violation.description}" for violation in error.violations]
    return RefusedError("\n".join(["Refused; what has to be mended:", *lines]))


def _not_found(error: NotFoundError) -> CommandError:
    if error.resource == "identifier":
        return RefusedError("Sima has never seen one of these identifiers.")
    if error.resource == "profile" and not is_profile_id(error.name):  # it is the kind of identifier that was asked for
        return RefusedError(f"Nobody is known by this {error.name.replace('_', ' ')}.")
    return RefusedError(f"There is no {error.resource} {error.name!r}.")


def _already_exists(error: AlreadyExistsError) -> CommandError:
    change = f" `sima segment update {error.name}` changes it." if error.resource == "segment" else ""
    return RefusedError(f"There is a {error.resource} {error.name!r} already, and it is another one.{change}")


def _in_use(error: InUseError) -> CommandError:
    return RefusedError(f"The {error.resource} {error.name!r} is still used by {error.used_by}.")


def _contradiction(error: ContradictionError) -> CommandError:
    own = error.decision_id
    return RefusedError(f"The decision {own} says the contrary. `sima identity withdraw {own}` takes it back.")


def _stale_version(error: StaleVersionError) -> CommandError:
    return RefusedError(f"Version {error.version} of the {error.resource} is in force, not the one you began with.")


def _cursor_expired(error: CursorExpiredError) -> CommandError:
    return RefusedError(f"The cursor of {error.feed} is of a time before a restore; begin again without one.")


def _deadline(_: DeadlineExceededError) -> CommandError:
    return UnreachableError(
        "It took longer than a command waits, and may be done all the same. The same command again tells."
    )


def _retry_later(error: RetryLaterError) -> CommandError:
    return UnreachableError(f"Nothing was done: {error}. Try again; `sima up` shows whether everything runs.")


def _remote(error: RemoteError) -> CommandError:
    if error.code == "UNAUTHENTICATED":
        return RefusedError(f"{error.service} wants another token; give one with --token-file or SIMA_TOKEN_FILE.")
    if error.code == "PERMISSION_DENIED":
        return RefusedError(f"The token does not allow this call of {error.service}, or not in this workspace.")
    under = f"; its log has the details under {error.request_id}" if error.request_id else ""
    return CommandError(f"{error.service} failed with {error.code}{under}.")


_EXPLANATIONS: dict[type[BaseException], Callable[[Any], CommandError]] = {
    OSError: _system,
    TimeoutError: _too_long,
    UnicodeEncodeError: _no_text,
    InvalidFieldsError: _invalid_fields,
    NotFoundError: _not_found,
    AlreadyExistsError: _already_exists,
    InUseError: _in_use,
    ContradictionError: _contradiction,
    StaleVersionError: _stale_version,
    CursorExpiredError: _cursor_expired,
    DeadlineExceededError: _deadline,
    RetryLaterError: _retry_later,
    RemoteError: _remote,
}

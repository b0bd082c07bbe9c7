"""The command line of a service: `python -m sima_<service>` serves, `python -m sima_<service> migrate` migrates."""

import argparse
import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import structlog
import uvloop
from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsError

from sima_runtime.errors import FixConfigurationError
from sima_runtime.logs import configure_logs
from sima_runtime.migrations import migrate
from sima_runtime.mistakes import mistakes
from sima_runtime.settings import DatabaseSettings, TelemetrySettings
from sima_runtime.telemetry import start_metrics

Settings = TypeVar("Settings", bound=TelemetrySettings)

# Exit codes.
_CRASHED = 1
_MISCONFIGURED = 2

_log = structlog.get_logger()


def run(service: str, settings_type: type[Settings], main: Callable[[Settings], Coroutine[Any, Any, None]]) -> None:
    """Read the settings, set up logs and metrics, and serve or migrate.

    Ends the process with 2 if a setting is wrong and with 1 after a crash.

    Args:
        service: Name of the service; its package is `sima_<service>`.
        settings_type: Class of its settings.
        main: Serves until it is told to stop.
    """
    parser = argparse.ArgumentParser(prog=f"python -m sima_{service}", description=f"The {service} service of Sima.")
    commands = ["serve", "migrate"] if issubclass(settings_type, DatabaseSettings) else ["serve"]
    parser.add_argument("command", nargs="?", choices=commands, default="serve")
    command = parser.parse_args().command
    configure_logs("info", service)
    try:
        settings = _read(settings_type)
        configure_logs(settings.log_level, service)
        if command == "migrate":
            _migrate(service, settings)
        else:
            start_metrics(settings.metrics_address)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(main(settings))
    except FixConfigurationError as error:
        _log.error("misconfigured", problem=str(error))  # the text says it all
        sys.exit(_MISCONFIGURED)
    except Exception:  # noqa: BLE001  # a line of the log, not a traceback that may repeat values
        _log.exception("crashed")
        sys.exit(_CRASHED)


def _read(settings_type: type[Settings]) -> Settings:
    try:
        return settings_type()
    except ValidationError as error:
        raise FixConfigurationError("; ".join(mistakes(error, "the settings do not fit together"))) from None
    except SettingsError as error:  # a list or mapping that is no JSON; the text names the setting only
        form = 'expected JSON, a list such as ["one", "two"] or a mapping such as {"one": "two"}'
        raise FixConfigurationError(f"{error}: {form}") from None


def _migrate(service: str, settings: BaseSettings) -> None:
    if isinstance(settings, DatabaseSettings):
        migrate(settings.database_url, f"sima_{service}")
        _log.info("migrated")

"""`sima plugins`: what is installed, and what it brings."""

from typing import Any

from sima_sdk.connectors import Connector, PushConnector
from sima_sdk.plugins import connectors, loaded, plugin_manager, segment_functions

from sima_cli.commands.options import Json
from sima_cli.failures import runs
from sima_cli.output import out, print_json, table

EXAMPLE = "Example: [cyan]sima plugins --json[/]"


@runs
async def plugins(as_json: Json = False) -> None:
    """List the installed plugins with their versions, and the connectors and rule functions that they bring."""
    found = _found()
    if as_json:
        print_json(found)
        return
    rows = [(one["name"], one["distribution"], one["version"]) for one in found["plugins"]]
    out.print(table("Plugins", ("plugin", "distribution", "version"), rows))
    entrances = [(one["name"], one["kind"], one["entrances"], _options(one["options"])) for one in found["connectors"]]
    out.print(table("Connectors", ("connector", "kind", "entrances", "options of a source"), entrances))
    out.print("[dim]docs/sources.md says what the options of Sima's own connectors mean.[/]")
    functions = [(f"{one['name']}()", one["summary"]) for one in found["functions"]]
    out.print(table("Rule functions", ("function", "what it says"), functions))


def _options(names: tuple[str, ...] | None) -> str:
    return "any" if names is None else ", ".join(f"{name}*" if name.endswith(".") else name for name in names) or "none"


def _found() -> dict[str, list[dict[str, Any]]]:
    manager = plugin_manager()
    return {
        "plugins": [
            {"name": one.name, "distribution": one.distribution, "version": one.version} for one in loaded(manager)
        ],
        "connectors": [_connector(name, one) for name, one in sorted(connectors(manager).items())],
        "functions": [
            {"name": name, "summary": one.summary} for name, one in sorted(segment_functions(manager).items())
        ],
    }


def _connector(name: str, connector: Connector) -> dict[str, Any]:
    if isinstance(connector, PushConnector):
        routes = [f"{route.method} /in/SOURCE{route.path}" for route in connector.routes]
        return {"name": name, "kind": "push", "entrances": ", ".join(routes), "options": connector.options}
    return {"name": name, "kind": "pull", "entrances": "sima import SOURCE FILE", "options": connector.options}

"""Finds the installed plugins and asks them once, at start-up, what they bring."""

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

import pluggy

from sima_sdk import hookspecs
from sima_sdk.connectors import Connector, PullConnector, PushConnector, Route
from sima_sdk.errors import FixConfigurationError
from sima_sdk.identifiers import BUILT_IN_KINDS, IdentifierKind, IdentifierKinds
from sima_sdk.rules import SegmentFunction

PROJECT = "sima"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LoadedPlugin:
    """A plugin that is in use: the name of its entry point, and its distribution with version."""

    name: str
    distribution: str
    version: str


def plugin_manager(allowed: Collection[str] | None = None) -> pluggy.PluginManager:
    """Return a new manager with the installed plugins, or only those whose entry-point names are allowed.

    Raises:
        FixConfigurationError: A plugin cannot be imported, two have one name, an allowed one is not installed, or a
            hook is misspelt or has wrong arguments.
    """
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    for name in _chosen(allowed):
        _load(manager, name)
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise FixConfigurationError(f"a plugin implements a hook that does not exist: {error}") from error
    return manager


def loaded(manager: pluggy.PluginManager) -> list[LoadedPlugin]:
    """Return the plugins that came from distributions, by name; a service logs one line for each."""
    found = {manager.get_name(plugin) or "": dist for plugin, dist in manager.list_plugin_distinfo()}
    return [LoadedPlugin(name, dist.project_name, dist.version) for name, dist in sorted(found.items())]


def connectors(manager: pluggy.PluginManager) -> dict[str, Connector]:
    """Return every connector, by its name.

    Raises:
        FixConfigurationError: A plugin answers the hook with something else, or two connectors have one name.
    """
    return _registered(manager, "register_connectors", (PushConnector, PullConnector), _check_connector)


def segment_functions(manager: pluggy.PluginManager) -> dict[str, SegmentFunction]:
    """Return every function of the rule language that plugins bring, by the name that rules use.

    Raises:
        FixConfigurationError: A plugin answers the hook with something else, or two functions have one name.
    """
    return _registered(manager, "register_segment_functions", (SegmentFunction,), _check_function)


def identifier_kinds(manager: pluggy.PluginManager) -> IdentifierKinds:
    """Return the built-in kinds of identifiers together with those of plugins.

    Raises:
        FixConfigurationError: A plugin answers the hook with something else, or names a kind that exists.
    """
    brought: dict[str, IdentifierKind] = _registered(
        manager, "register_identifier_kinds", (IdentifierKind,), _check_kind
    )
    return IdentifierKinds({**BUILT_IN_KINDS, **brought})


def _chosen(allowed: Collection[str] | None) -> list[str]:
    installed = _installed()
    absent = sorted(set(allowed or ()) - installed.keys())
    if absent:
        raise FixConfigurationError(f"plugin {absent[0]} is allowed but not installed; installed: {sorted(installed)}")
    return sorted(installed if allowed is None else set(allowed))


def _installed() -> dict[str, EntryPoint]:
    found: dict[str, dict[str, EntryPoint]] = defaultdict(dict)
    for entry in entry_points(group=PROJECT):
        found[entry.name][entry.dist.name if entry.dist else ""] = entry
    for name, by_distribution in found.items():
        if len(by_distribution) > 1:
            raise FixConfigurationError(f"two plugins are called {name}: those of {sorted(by_distribution)}")
    return {name: next(iter(by_distribution.values())) for name, by_distribution in found.items()}


def _load(manager: pluggy.PluginManager, name: str) -> None:
    try:
        manager.load_setuptools_entrypoints(PROJECT, name)
    except Exception as error:
        raise FixConfigurationError(f"plugin {name} cannot be loaded: {type(error).__name__}: {error}") from error


def _registered(
    manager: pluggy.PluginManager, hook: str, expected: tuple[type, ...], check: Callable[[Any], str]
) -> dict[str, Any]:
    """Ask one plugin after the other, so that a complaint can name the one it is about."""
    found: dict[str, Any] = {}
    brought_by: dict[str, str] = {}
    for plugin, others in _one_by_one(manager):
        for answer in manager.subset_hook_caller(hook, others)():
            for item in _checked(answer, f"plugin {plugin}, hook {hook}", expected, check):
                if item.name in found:
                    raise FixConfigurationError(f"{hook}: {brought_by[item.name]} and {plugin} both bring {item.name}")
                found[item.name], brought_by[item.name] = item, plugin
    return found


def _one_by_one(manager: pluggy.PluginManager) -> list[tuple[str, list[object]]]:
    plugins = sorted(manager.list_name_plugin())
    return [(name, [other for _, other in plugins if other is not plugin]) for name, plugin in plugins if plugin]


def _checked(answer: object, where: str, expected: tuple[type, ...], check: Callable[[Any], str]) -> Sequence[Any]:
    names = " or ".join(kind.__name__ for kind in expected)
    if not isinstance(answer, list | tuple):
        raise FixConfigurationError(f"{where}: expected a list of {names}, got {type(answer).__name__}")
    for item in answer:
        if not isinstance(item, expected):
            raise FixConfigurationError(f"{where}: expected {names} objects, got {_describe(item)}")
        if fault := check(item):
            raise FixConfigurationError(f"{where}: {fault}")
    return answer


def _describe(item: object) -> str:
    return f"the class {item.__name__}" if isinstance(item, type) else f"an object of type {type(item).__name__}"


def _check_connector(connector: Connector) -> str:
    kind = type(connector).__name__
    if not isinstance(getattr(connector, "name", None), str) or not connector.name:
        return f"{kind} has no name"
    routes = getattr(connector, "routes", ()) if isinstance(connector, PushConnector) else (Route("GET"),)
    if not routes or not all(isinstance(route, Route) for route in routes):
        return f"{kind} needs a tuple of at least one Route in routes"
    return ""


def _check_function(function: SegmentFunction) -> str:
    plugin, dot, name = function.name.partition(".")
    if not (dot and plugin.isidentifier() and name.isidentifier()):
        return "a segment function's name must have the form <plugin>.<function>"
    return "" if callable(function.expand) else f"{function.name}: expand must be callable"


def _check_kind(kind: IdentifierKind) -> str:
    return f"{kind.name} is a built-in kind of identifier" if kind.name in BUILT_IN_KINDS else ""

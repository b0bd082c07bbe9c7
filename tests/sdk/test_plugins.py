"""Loading plugins: what is found, what is refused, and what an error names."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sima_sdk import plugins
from sima_sdk.connectors import Connector, PushConnector, Reception, Request, Route, Source
from sima_sdk.errors import FixConfigurationError
from sima_sdk.hookspecs import hookimpl
from sima_sdk.identifiers import BUILT_IN_KINDS, IdentifierKind, IdentifierKinds, normalise_opaque
from sima_sdk.rules import SegmentFunction

Install = Callable[[str, str], None]


class Bell(PushConnector):
    """A connector that takes anything."""

    name = "bell"
    routes: tuple[Route, ...] = (Route("POST"),)

    def receive(self, request: Request, source: Source) -> Reception:
        """Take it."""
        return Reception()


def plugin(**hooks: Callable[[], Any]) -> ModuleType:
    """Return a plugin module with these hooks."""
    module = ModuleType("made_up")
    for name, function in hooks.items():
        setattr(module, name, hookimpl(function))
    return module


def connectors_of(*answers: Callable[[], Any]) -> dict[str, Connector]:
    """Return the connectors of plugins p0, p1, ... with these hooks."""
    manager = plugins.plugin_manager(allowed=())
    for number, answer in enumerate(answers):
        manager.register(plugin(register_connectors=answer), f"p{number}")
    return plugins.connectors(manager)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a distribution with one plugin module as pip would leave it."""

    def install(name: str, source: str, entry: str = "") -> None:
        module = f"made_up_{name}"
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{module}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[sima]\n{entry or name} = {module}\n")
        monkeypatch.syspath_prepend(tmp_path)

    return install


def test_every_bundled_plugin_loads_through_its_entry_point() -> None:
    """What ships with Sima enters by the same door as any other plugin, with distribution and version."""
    found = {plugin.name: plugin.distribution for plugin in plugins.loaded(plugins.plugin_manager())}
    for name in ("api", "crm", "pixel", "pos", "rfm", "social"):
        assert found[name] == f"sima-plugin-{name}"


def test_an_allow_list_chooses_plugins() -> None:
    """Only what is allowed is loaded."""
    manager = plugins.plugin_manager(allowed=["crm", "pos"])
    assert [plugin.name for plugin in plugins.loaded(manager)] == ["crm", "pos"]


def test_an_allowed_plugin_that_is_not_installed_is_an_error() -> None:
    """A name in the allow-list that nobody answers to stops the start."""
    with pytest.raises(FixConfigurationError, match="plugin weather is allowed but not installed"):
        plugins.plugin_manager(allowed=["weather"])


def test_a_strangers_plugin_is_found(install: Install) -> None:
    """An installed distribution with an entry point is a plugin, whoever wrote it."""
    install("stranger", "")
    found = plugins.loaded(plugins.plugin_manager(allowed=["stranger"]))
    assert found == [plugins.LoadedPlugin("stranger", "made_up_stranger", "1.2")]


def test_a_misspelt_hook_is_an_error(install: Install) -> None:
    """A hook that does not exist is not silently ignored."""
    install("typo", "from sima_sdk import hookimpl\n@hookimpl\ndef register_conectors(): return []\n")
    with pytest.raises(FixConfigurationError, match="register_conectors"):
        plugins.plugin_manager(allowed=["typo"])


def test_a_plugin_that_cannot_be_imported_is_named(install: Install) -> None:
    """An import error says whose it is."""
    install("broken", "import no_such_module_anywhere\n")
    with pytest.raises(FixConfigurationError, match=r"plugin broken cannot be loaded.*no_such_module_anywhere"):
        plugins.plugin_manager(allowed=["broken"])


def test_two_plugins_with_one_name_are_an_error(install: Callable[..., None]) -> None:
    """Neither of two plugins with the same name wins in silence."""
    install("twin_a", "", entry="twin")
    install("twin_b", "", entry="twin")
    with pytest.raises(FixConfigurationError, match=r"two plugins are called twin.*made_up_twin_a.*made_up_twin_b"):
        plugins.plugin_manager()


def test_connectors_of_all_plugins_are_collected() -> None:
    """Each plugin's connectors are known by their names."""
    assert set(connectors_of(lambda: [Bell()], lambda: ())) == {"bell"}


def test_two_connectors_with_one_name_are_an_error() -> None:
    """The error names the connector and both plugins."""
    with pytest.raises(FixConfigurationError, match="p0 and p1 both bring bell"):
        connectors_of(lambda: [Bell()], lambda: [Bell()])


class Nameless(Bell):
    """A connector that forgot its name."""

    name = ""


class Routeless(Bell):
    """A connector that answers nothing."""

    routes = ()


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (lambda: 7, "expected a list of PushConnector or PullConnector, got int"),
        (lambda: [Bell], "objects, got the class Bell"),
        (lambda: ["bell"], "objects, got an object of type str"),
        (lambda: [Nameless()], "Nameless has no name"),
        (lambda: [Routeless()], "Routeless needs a tuple of at least one Route"),
    ],
)
def test_a_wrong_answer_to_a_hook_names_plugin_hook_and_expectation(answer: Callable[[], Any], complaint: str) -> None:
    """Whoever wrote the plugin can mend it from the error alone."""
    with pytest.raises(FixConfigurationError, match=f"plugin p0, hook register_connectors: .*{complaint}"):
        connectors_of(answer)


def functions_of(function: SegmentFunction) -> dict[str, SegmentFunction]:
    """Return the functions of a plugin that brings one."""
    manager = plugins.plugin_manager(allowed=())
    manager.register(plugin(register_segment_functions=lambda: [function]), "p0")
    return plugins.segment_functions(manager)


def test_segment_functions_are_known_by_their_dotted_name() -> None:
    """A rule finds the function under plugin and name."""
    assert set(functions_of(SegmentFunction("loyal.since", "Loyal since.", "traits.since".format))) == {"loyal.since"}


@pytest.mark.parametrize("name", ["since", ".since", "loyal.", "loyal.since.when", "loy al.since"])
def test_a_segment_function_needs_a_dotted_name(name: str) -> None:
    """A name that no rule could call is refused at start-up."""
    with pytest.raises(FixConfigurationError, match=r"<plugin>\.<function>"):
        functions_of(SegmentFunction(name, "Loyal since.", "traits.since".format))


def kinds_of(kinds: Sequence[IdentifierKind]) -> IdentifierKinds:
    """Return all kinds once a plugin brings these."""
    manager = plugins.plugin_manager(allowed=())
    manager.register(plugin(register_identifier_kinds=lambda: kinds), "p0")
    return plugins.identifier_kinds(manager)


def test_identifier_kinds_of_plugins_stand_beside_the_built_in_ones() -> None:
    """A plugin's kind is normalised like any other."""
    kinds = kinds_of([IdentifierKind("tax_id", normalise_opaque, 75, strong=True)])
    assert set(kinds) == {*BUILT_IN_KINDS, "tax_id"}
    assert kinds.normalise("tax_id", " ١٢ ") == "12"


def test_a_plugin_cannot_change_a_built_in_kind() -> None:
    """Every key rests on the built-in normal forms, so they cannot be replaced."""
    with pytest.raises(FixConfigurationError, match="email is a built-in kind"):
        kinds_of([IdentifierKind("email", normalise_opaque, 75, strong=True)])

"""What the documentation says about plugins is true."""

import inspect
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from sima_sdk import hookspecs, plugins
from sima_sdk.identifiers import BUILT_IN_KINDS
from sima_sdk.rules import SegmentFunction

pytest_plugins = ("pytester",)

DOCS = Path(__file__).parents[2] / "docs"
GUIDE = (DOCS / "writing-a-plugin.md").read_text()
FILES = dict(re.findall(r"^`([\w.]+)`\n\n```\w+\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL))
HOOKS = [name for name, function in vars(hookspecs).items() if getattr(function, "sima_spec", None)]


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented_and_tested(hook: str) -> None:
    """A hook has a docstring, a heading and a test."""
    assert inspect.getdoc(getattr(hookspecs, hook))
    assert f"\n## `{hook}`\n" in (DOCS / "hooks.md").read_text()
    assert hook in Path(__file__).with_name("test_plugins.py").read_text()


def test_every_built_in_kind_is_documented() -> None:
    """The table of kinds says their order, strength and protection."""
    rows = re.findall(
        r"^\| `(\w+)` \| .* \| (\d+) \| (\w+) \| (\w*) ?\|$", (DOCS / "hooks.md").read_text(), re.MULTILINE
    )
    assert rows == [
        (kind.name, str(kind.priority), "yes" if kind.strong else "no", "yes" if kind.protected else "")
        for kind in BUILT_IN_KINDS.values()
    ]


@pytest.fixture
def guide(tmp_path: Path) -> Path:
    """The files of the guide in a folder."""
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)
    return tmp_path


@pytest.fixture
def installed(guide: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The distribution of the guide, built and unpacked as an installer does it."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel"], cwd=guide, check=True, capture_output=True
    )
    (wheel,) = (guide / "dist").glob("*.whl")
    target = guide / "site"
    zipfile.ZipFile(wheel).extractall(target)
    monkeypatch.syspath_prepend(target)
    return target


def test_the_plugin_of_the_guide_is_found_once_installed(installed: Path) -> None:
    """What the guide builds is a plugin with its distribution and version, and brings its connector."""
    assert (installed / "acme_sima_newsletter.py").exists()
    manager = plugins.plugin_manager(allowed=["newsletter"])
    assert plugins.loaded(manager) == [plugins.LoadedPlugin("newsletter", "acme-sima-newsletter", "1.0.0")]
    assert set(plugins.connectors(manager)) == {"newsletter"}


def test_the_tests_of_the_guide_pass(pytester: pytest.Pytester) -> None:
    """Whoever follows the guide has a plugin that keeps every promise."""
    for name in ("acme_sima_newsletter", "test_newsletter"):
        pytester.makepyfile(**{name: FILES[f"{name}.py"]})
    pytester.syspathinsert()
    result = pytester.runpytest_inprocess("--sima-mutations=300", "-pno:cacheprovider", "-pno:asyncio")
    result.assert_outcomes(passed=11)


def test_the_file_connector_of_the_guide_keeps_every_promise(pytester: pytest.Pytester) -> None:
    """The shortest connector of files is a whole one."""
    suite = """
        import pytest
        from acme_sima_guestbook import GuestBookConnector
        from sima_sdk import Source
        from sima_sdk.testing.pull import PullConnectorContract, PullSubject

        class TestGuestBook(PullConnectorContract):
            @pytest.fixture
            def subject(self):
                guests = b"a@example.com,2026-01-05T10:30\\nb@example.com,2026-01-05\\n"
                content = b"email,signed\\n" + guests + b",2026-01-05\\nbob@example.com,soon\\n"
                return PullSubject(GuestBookConnector(), Source("hall"), content, facts=2, refusals=2)
    """
    pytester.makepyfile(acme_sima_guestbook=FILES["acme_sima_guestbook.py"], test_guestbook=suite)
    pytester.syspathinsert()
    result = pytester.runpytest_inprocess("--sima-mutations=300", "-pno:cacheprovider", "-pno:asyncio")
    result.assert_outcomes(passed=9)


def test_the_function_of_the_guide_means_what_it_says(guide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`loyal.buyer(3)` becomes a rule, and a senseless call is explained."""
    monkeypatch.syspath_prepend(guide)
    manager = plugins.plugin_manager(allowed=())
    manager.register(__import__("acme_sima_loyal"), "loyal")
    buyer: SegmentFunction = plugins.segment_functions(manager)["loyal.buyer"]
    assert buyer.expand(3.0) == 'events("order_completed").within("365d").count() >= 3'
    with pytest.raises(ValueError, match="purchases: expected at least 1"):
        buyer.expand(0)


@pytest.mark.slow
def test_the_code_of_the_guide_is_typed(guide: Path) -> None:
    """A partner who checks types strictly has no complaint about the SDK or about what the guide teaches."""
    files = sorted(name for name in FILES if name.endswith(".py"))
    search = f"{Path(plugins.__file__).parents[1]}:{guide}"
    result = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={guide}", *files],
        cwd=guide,
        env={"MYPYPATH": search},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout

"""Suites as projects run them, against wheels that are really installed, and what their rehearsal says."""

from __future__ import annotations

import json
import re
import socket
import sys
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from conveyor.domain.releases.evidence import statement
from conveyor.errors import ProjectError, StepFailed
from conveyor.pipeline.engine.isolation import Workplace
from conveyor.pipeline.engine.worker import open_worker
from conveyor.pipeline.jobs.distributions import BuiltRelease
from conveyor.pipeline.jobs.rehearsal import rehearse
from conveyor.pipeline.jobs.sources import Source
from conveyor.project.archives import sha256_of_file
from pipeline.projects import CORE, HATCHLING, build, clone_of_tag, git, make_project, second_python
from releases_made import predicate_of_tests

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pipeline.conftest import Town

pytestmark = [pytest.mark.xdist_group("pipeline"), pytest.mark.timeout(300)]

HELD = HATCHLING.replace('">=3.11"', '"==3.11.*"')
"""One Python, so that each environment is made of the same files."""


@dataclass(frozen=True)
class Stage:
    """A built release of a small project, ready to be rehearsed."""

    town: Town
    place: Workplace
    source: Source
    built: BuiltRelease

    def rehearse(self, *goals: str) -> str:
        worker = open_worker(self.town.credentials, store_url=self.town.url)
        rules = worker.client.policies.rules(self.built.project)
        wanted = {goal: rules[goal] for goal in goals or ("testing",)}
        return rehearse(self.place, worker, self.source, wanted, self.built).summary

    def junit(self) -> str:
        (report,) = self.place.folder.glob("logs/*junit.xml")
        return report.read_text()


def staged(
    town: Town, folder: Path, pyproject: str = "", files: Mapping[str, str] | None = None, *,
    base: str = HELD,
) -> Stage:  # fmt: skip
    repository = make_project(folder / "repository", pyproject=base + pyproject, files=files)
    git(repository, "tag", "v1.0.0")
    place = Workplace(folder / "place", cache=town.state / "cache")
    checkout = clone_of_tag(repository, "v1.0.0", place.folder / "checkout")
    source = Source(str(repository), git(checkout, "rev-parse", "HEAD"), "v1.0.0")
    # Tests and what the pipeline is told do not reach the wheel: one build serves all that agree in the rest.
    inside = {path: text for path, text in (files or {}).items() if not path.startswith("tests/")}
    made_of = repr((base, pyproject if "[tool.hatch" in pyproject else "", sorted(inside.items())))
    if made_of not in _BUILT:
        _, wheel = build(clone_of_tag(repository, "v1.0.0", place.folder / "source"))
        _BUILT[made_of] = wheel.name, wheel.read_bytes()
    name, content = _BUILT[made_of]
    (place.folder / "dist").mkdir()
    (place.folder / "dist" / name).write_bytes(content)
    built = BuiltRelease("demo", "1.0.0", "demo-1.0.0.tar.gz", name, 0, (), "3.11.0", "linux-x86_64")
    return Stage(town, place, source, built)


_BUILT: dict[str, tuple[str, bytes]] = {}
"""What is inside → the wheel's filename and bytes."""


def free_port() -> int:
    with closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def test_index_of_the_same_packages_is_not_tested_for_again(town: Town, tmp_path: Path) -> None:
    stage = staged(town, tmp_path)
    said, more = stage.rehearse("testing", "stable").split("; ")
    assert said.startswith("1 passed")
    assert re.fullmatch(r"the same wheel passed with the same packages on Python 3\.11\.\d+ for stable", more)
    assert stage.junit()


def test_package_that_only_testing_has_is_missed_before_anything_is_published(
    town: Town, tmp_path: Path
) -> None:
    """The test for "stable" of a final would find that out when its version is used up."""
    own = make_project(tmp_path / "own", name="omega")
    town.claim("omega")
    git(own, "tag", "v1.0.0")
    _, wheel = build(clone_of_tag(own, "v1.0.0", tmp_path / "clone"))
    town.client.files.upload("unstable", wheel)
    facts = predicate_of_tests(name="omega", version="1.0.0")
    worker = open_worker(town.credentials, store_url=town.url)
    digest = sha256_of_file(wheel)
    worker.testify(statement("tests", filename=wheel.name, sha256=digest, predicate=facts))
    town.client.releases.promote("omega", "1.0.0", to="testing")
    needing = HELD.replace('dynamic = ["version"]', 'dynamic = ["version"]\ndependencies = ["omega"]')
    stage = staged(town, tmp_path / "needing", base=needing)
    assert stage.rehearse("testing").startswith("1 passed")
    with pytest.raises(ProjectError, match="omega was not found") as missed:
        stage.rehearse("testing", "stable")
    assert str(missed.value.hint).startswith("this store takes omega from its own indexes alone")


def test_wheel_that_a_python_of_an_index_cannot_install_is_told_before_a_test_runs(
    town: Town, tmp_path: Path
) -> None:
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    tag = f"cp{python.replace('.', '')}"
    hook = "[tool.hatch.build.targets.wheel.hooks.custom]\n"
    files = {"hatch_build.py": TAGGED.format(tag=tag)}
    base = HELD.replace(f'"=={python}.*"', '">=3.9"')
    stage = staged(town, tmp_path, hook, files | {".python-version": f"{python}\n"}, base=base)
    with (
        town.pythons("stable", second_python()),
        pytest.raises(StepFailed, match=r"does not fit Python pypy3\.\d+\.\d+ \(for stable\)"),
    ):
        stage.rehearse("testing", "stable")
    assert not list(stage.place.folder.glob("logs/*"))


TAGGED = """\
from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Tag(BuildHookInterface):
    def initialize(self, version, build_data):
        build_data["tag"] = "{tag}-none-any"
"""
READS_LOCALE = """\
import subprocess
import sys
from pathlib import Path

import demo.core

HERE = Path(__file__).parent


def test_locale():
    assert (HERE.parent / "src/demo/locale/de/x.po").read_text() == "x"
    assert (HERE.parent / "src/demo/locale/fr/x.po").read_text() == "x"


def test_golden():
    assert (HERE.parent / "golden.json").read_text() == "{}"


def test_program():
    subprocess.run([sys.executable, HERE.parent / "src/demo/tool.py"], check=True)
"""


def test_files_that_tests_read_outside_are_named_and_come_along_when_declared(
    town: Town, tmp_path: Path
) -> None:
    hidden = '[tool.hatch.build.targets.wheel.force-include]\n"golden.json" = "demo/golden.json"\n'
    files = {
        "tests/test_locale.py": READS_LOCALE,
        "golden.json": "{}",
        "src/demo/tool.py": "",
        "src/demo/locale/de/x.po": "x",
        "src/demo/locale/fr/x.po": "x",
    }
    stage = staged(town, tmp_path / "undeclared", hidden, files)
    with pytest.raises(
        StepFailed, match=r"The tests read golden\.json, src/demo/locale, src/demo/tool\.py of the repository"
    ) as one:
        stage.rehearse()
    assert one.value.hint == (
        "declare what they read, under [tool.conveyor.test]: "
        'files = ["golden.json", "src/demo/locale", "src/demo/tool.py"]'
    )
    assert "test_golden" in one.value.log
    listed = '["golden.json", "src/demo/locale", "src/demo/tool.py"]'
    declared = f"[tool.conveyor.test]\nfiles = {listed}\n{hidden}"
    assert staged(town, tmp_path / "declared", declared, files).rehearse().startswith("4 passed")


def test_failure_that_a_checkout_has_too_is_told_as_such(town: Town, tmp_path: Path) -> None:
    files = {"tests/test_more.py": "def test_wrong():\n    assert open('pyproject.toml').read() == ''\n"}
    stage = staged(town, tmp_path, files=files)
    with pytest.raises(
        StepFailed, match=r"fails its tests on Python 3\.11\.\d+: 1 tests failed and 0 broke\n"
    ) as one:
        stage.rehearse()
    assert one.value.hint == "run them in the project: pip install -e '.[test]' pytest && pytest"


AS_THEY_ARE = """\
[pytest]
testpaths = src checks
python_files = check_*.py
addopts = --strict-markers --doctest-modules
markers =
    slow: takes long
pythonpath = src checks
"""


def test_settings_of_the_project_hold(town: Town, tmp_path: Path) -> None:
    """testpaths, markers, plugins of the repository, pythonpath and the conftest.py above the tests.

    The doctests of ``src`` are those of the installed package.
    """
    files = {
        "src/demo/core.py": f'"""\n>>> answer()\n42\n"""\n\n\n{CORE}',
        "tox.ini": AS_THEY_ARE,
        "conftest.py": "import pytest\n\npytest_plugins = ['helpers.plugin']\n\n\n"
        "@pytest.fixture\ndef above():\n    return 'above'\n",
        "checks/helpers/__init__.py": "",
        "checks/helpers/plugin.py": "import pytest\n\n\n@pytest.fixture\ndef plugged():\n    return 'in'\n",
        "checks/check_core.py": "import pytest\nfrom demo.core import answer\n\n\n@pytest.mark.slow\n"
        "def test_all(above, plugged):\n    assert (answer(), above, plugged) == (42, 'above', 'in')\n",
        "tests/test_core.py": "raise SystemError('these are not the tests')\n",
    }
    assert staged(town, tmp_path, files=files).rehearse().startswith("2 passed")


def test_plugin_that_is_not_installed_is_told_before_anything_is_published(
    town: Town, tmp_path: Path
) -> None:
    stage = staged(town, tmp_path, '[tool.pytest.ini_options]\naddopts = "--absent-plugin"\n')
    with pytest.raises(
        StepFailed, match="pytest could not begin: unrecognized arguments: --absent-plugin"
    ) as one:
        stage.rehearse()
    assert "plugins that the settings of pytest name" in str(one.value.hint)


def test_tests_inside_the_package_run_where_they_are_installed(town: Town, tmp_path: Path) -> None:
    files = {
        "tests/test_core.py": "",
        "src/demo/tests/__init__.py": "",
        "src/demo/tests/test_core.py": "from .. import core\n\n\n"
        "def test_it():\n    assert core.answer() == 42\n",
    }
    stage = staged(town, tmp_path, '[tool.conveyor.test]\npaths = ["src/demo/tests"]\n', files)
    assert stage.rehearse().startswith("1 passed")


SHADOW = "import sys\nfrom pathlib import Path\n\nsys.path.insert(0, str(Path(__file__).parent / 'other'))\n"


def test_tests_that_import_something_else_than_the_installed_code_prove_nothing(
    town: Town, tmp_path: Path
) -> None:
    files = {
        "tests/conftest.py": SHADOW,
        "tests/other/demo/__init__.py": "",
        "tests/other/demo/core.py": "def answer() -> int:\n    return 42\n",
    }
    with pytest.raises(StepFailed, match="did not test the installed file: demo"):
        staged(town, tmp_path, files=files).rehearse()


UNITTESTS = """\
import unittest
from pathlib import Path

from demo.core import answer


class TestAnswer(unittest.TestCase):
    def test_it(self):
        self.assertEqual(answer(), {expected})


if __name__ == "__main__":
    result = unittest.main(exit=False).result
    inner = "<failure/>" if result.failures else ""
    Path("out").mkdir(exist_ok=True)
    Path("out/junit.xml").write_text(f"<testsuite><testcase name='a'>{{inner}}</testcase></testsuite>")
"""
COMMAND = '[tool.conveyor.test]\ncommand = ["python", "tests/run.py"]\njunit = "out/junit.xml"\n'


def test_another_command_is_counted_by_its_junit_file_and_proven_in_its_processes(
    town: Town, tmp_path: Path
) -> None:
    good = staged(town, tmp_path / "good", COMMAND, {"tests/run.py": UNITTESTS.format(expected=42)})
    assert good.rehearse().startswith("1 passed")
    assert "testcase" in good.junit()
    bad = staged(town, tmp_path / "bad", COMMAND, {"tests/run.py": UNITTESTS.format(expected=43)})
    with pytest.raises(StepFailed, match="1 tests failed"):
        bad.rehearse()
    silent = staged(town, tmp_path / "silent", COMMAND, {"tests/run.py": "import demo.core\n"})
    with pytest.raises(StepFailed, match=r"wrote no out/junit\.xml, which"):
        silent.rehearse()
    elsewhere = "from pathlib import Path\n\nPath('out/junit.xml').write_text('<a><testcase/></a>')\n"
    unproven = staged(town, tmp_path / "unproven", COMMAND, {"tests/run.py": elsewhere})
    with pytest.raises(StepFailed, match="the tests imported no module of the installed file"):
        unproven.rehearse()


SERVER = """\
import socket
import sys
import time

time.sleep(0.3)
kind, where, lives = sys.argv[1:]
one = socket.socket(socket.AF_UNIX if kind == "socket" else socket.AF_INET)
if kind == "port":
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
one.bind(where if kind == "socket" else ("127.0.0.1", int(where)))
one.listen()
print("listening", flush=True)
for _ in range(int(lives)):
    connection, _ = one.accept()
    connection.close()
sys.exit("out of lives")
"""
ASKS = """\
import socket

import demo.core


def test_service():
    socket.create_connection(("127.0.0.1", {port})).close()
    one = socket.socket(socket.AF_UNIX)
    one.connect("tests/run.sock")
"""


def services(port: int, *, lives: int = 99, ready: int = 20) -> str:
    server = '"python", "tests/serve.py"'
    return (
        "[tool.conveyor.test]\nservices = [\n"
        f'{{name = "base", command = [{server}, "port", "{port}", "{lives}"], port = {port}, '
        f"ready_seconds = {ready}}},\n"
        f'{{name = "other", command = [{server}, "socket", "tests/run.sock", "99"], '
        'socket = "tests/run.sock"}]\n'
    )


def test_services_run_while_the_tests_do(town: Town, tmp_path: Path) -> None:
    port = free_port()
    files = {"tests/serve.py": SERVER, "tests/test_service.py": ASKS.format(port=port)}
    stage = staged(town, tmp_path, services(port), files)
    assert stage.rehearse().startswith("2 passed")
    logs = sorted(path.name for path in stage.place.folder.glob("logs/*-service-*.log"))
    assert [name.rpartition("-")[2] for name in logs] == ["base.log", "other.log"]
    with closing(socket.socket()) as one:
        assert one.connect_ex(("127.0.0.1", port)) != 0, "the service outlived the tests"


def test_service_that_dies_fails_the_run_with_its_log(town: Town, tmp_path: Path) -> None:
    port = free_port()
    files = {"tests/serve.py": SERVER, "tests/test_service.py": ASKS.format(port=port)}
    stage = staged(town, tmp_path / "dies", services(port, lives=2), files)
    with pytest.raises(StepFailed, match="service base ended with code 1 while the tests ran") as one:
        stage.rehearse()
    assert "out of lives" in one.value.log
    broken = staged(town, tmp_path / "broken", services(port), {"tests/serve.py": "1 / 0\n"})
    with pytest.raises(StepFailed, match=f"base ended with code 1 before port {port} answered") as one:
        broken.rehearse()
    assert "ZeroDivisionError" in one.value.log
    slow = {"tests/serve.py": "import time\ntime.sleep(60)\n"}
    late = staged(town, tmp_path / "late", services(port, ready=1), slow)
    with pytest.raises(StepFailed, match="service base was not ready after 1 s"):
        late.rehearse()
    with closing(socket.socket()) as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(StepFailed, match=f"cannot be started: port {port} answers already"):
            late.rehearse()


def test_tests_that_take_too_long_are_ended(town: Town, tmp_path: Path) -> None:
    files = {"tests/test_slow.py": "import time\n\n\ndef test_slow():\n    time.sleep(60)\n"}
    stage = staged(town, tmp_path, "[tool.conveyor.test]\ntimeout_seconds = 3\n", files)
    with pytest.raises(StepFailed, match="the tests were ended after 3 s"):
        stage.rehearse()


def facts(town: Town, project: str, version: str) -> list[dict[str, Any]]:
    release = town.client.releases.get(project, version)
    return [json.loads(json.dumps(one.predicate)) for one in release.evidence if one.kind == "tests"]

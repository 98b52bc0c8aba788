"""The proof of origin, in a real environment with a really installed wheel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from conveyor.errors import StepFailed
from conveyor.pipeline.jobs import origin
from conveyor.pipeline.jobs.counts import ToldCounts
from conveyor.project.environment import Environment, make_environment
from conveyor.project.uv import run_uv
from pipeline.projects import build, clone_of_tag, git, make_project

if TYPE_CHECKING:
    from pathlib import Path

PROBE = """
import json, runpy, sys
namespace = runpy.run_path(sys.argv[1])
sys.path[:0] = sys.argv[2:]
import demo.core
print(json.dumps(namespace["inspect"]("demo", dict(sys.modules))))
"""


@pytest.fixture
def installed(tmp_path: Path) -> Environment:
    repository = make_project(tmp_path / "repository")
    git(repository, "tag", "v1.0.0")
    _, wheel = build(clone_of_tag(repository, "v1.0.0", tmp_path / "clone"))
    environment = make_environment(tmp_path / "environment")
    words = [
        "pip",
        "install",
        "-q",
        "--offline",
        "--no-index",
        "--python",
        str(environment.python),
        str(wheel),
    ]
    run_uv(words, is_clean=True)
    return environment


def probe(environment: Environment, *paths: Path) -> dict[str, Any]:
    done = subprocess.run(
        [str(environment.python), "-I", "-c", PROBE, origin.__file__, *map(str, paths)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def site(environment: Environment) -> Path:
    return environment.path / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"


def test_installed_modules_are_proven(installed: Environment) -> None:
    proof = probe(installed)
    assert proof["outside"] == []
    assert proof["modules_checked"] == 2
    assert proof["files_checked"] >= 5


def test_only_modules_of_the_interpreter_and_of_other_distributions_may_bear_a_second_name(
    installed: Environment, tmp_path: Path
) -> None:
    """As ``six.moves.BaseHTTPServer`` is ``http.server``, whose ``__spec__`` it replaces."""
    (site(installed) / "sitecustomize.py").write_text(
        "import http.server, importlib.machinery, sys\nsys.modules['demo.servers'] = http.server\n"
        "http.server.__spec__ = importlib.machinery.ModuleSpec('demo.servers', None)\n"
        f"sys.path.append({str(tmp_path)!r})\nimport strange\nsys.modules['demo.strange'] = strange\n"
    )
    (tmp_path / "strange.py").write_text("")
    proof = probe(installed)
    assert proof["modules_checked"] == 3
    assert [sentence.partition(":")[0] for sentence in proof["outside"]] == ["demo.strange"]


def test_module_from_elsewhere_is_outside(installed: Environment, tmp_path: Path) -> None:
    proof = probe(installed, tmp_path / "repository" / "src")
    assert [sentence.partition(":")[0] for sentence in proof["outside"]] == ["demo", "demo.core"]


def test_module_added_to_the_installed_package_is_outside(installed: Environment) -> None:
    core = site(installed) / "demo" / "core.py"
    (core.parent / "more.py").write_text("")
    core.unlink()
    core.write_text("import demo.more\n\n\ndef answer() -> int:\n    return 43\n")
    outside = probe(installed)["outside"]
    assert any(sentence.startswith("demo/core.py: its content is not") for sentence in outside)
    assert any(sentence.startswith("demo.more: imported from") for sentence in outside)


def test_namespace_over_the_installed_package_is_outside(installed: Environment, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "demo"
    elsewhere.mkdir(parents=True)
    (elsewhere / "core.py").write_text("")
    (site(installed) / "demo" / "__init__.py").unlink()
    outside = probe(installed, tmp_path / "elsewhere")["outside"]
    assert any(sentence.startswith(f"demo: {elsewhere} holds no file") for sentence in outside)


def test_the_end_of_each_test_is_told_at_once() -> None:
    told = ToldCounts()
    teller = origin.Teller(told.writing)

    class Report:
        def __init__(self, when: str, outcome: str) -> None:
            self.when = when
            self.nodeid = "tests/test_demo.py::test_it"
            self.outcome = outcome
            self.failed = outcome == "failed"
            self.skipped = outcome == "skipped"

    for when, outcome in (
        ("setup", "passed"), ("call", "passed"), ("teardown", "passed"),
        ("setup", "skipped"), ("setup", "failed"), ("call", "failed"), ("teardown", "failed"),
        ("call", "rerun"),
    ):  # fmt: skip
        teller.pytest_runtest_logreport(Report(when, outcome))  # type: ignore[arg-type]  # what it reads of one
    teller.tell(exit_code=1)
    assert told.ended() == ({"passed": 1, "failed": 1, "errors": 2, "skipped": 1}, 1)


@pytest.mark.parametrize("line", [b"nonsense\n", b'{"outcome": []}\n', b"[]\n", b'{"exit_code": "x"}\n'])
def test_what_the_plugin_never_tells_is_refused(line: bytes) -> None:
    with ToldCounts() as told:
        os.write(told.writing, line)
        with pytest.raises(StepFailed, match="not as conveyor tells them"):
            told.ended()

"""Documentation of a release: found or declared, built against the built wheel, packed."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import pytest

from conveyor.errors import StepFailed
from conveyor.pipeline.jobs.documentation import (
    ARCHIVE,
    DocsPlan,
    build_docs,
    count_warnings,
    must_be_built,
    pack,
    plan_docs,
)
from conveyor.project.environment import make_environment, run_in
from conveyor.project.foreign import Completed
from conveyor.project.settings import read_project
from conveyor.project.suites import Requirements
from pipeline.projects import make_project
from pipeline.test_rehearsal import staged

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.conftest import Town

pytestmark = [pytest.mark.xdist_group("pipeline"), pytest.mark.timeout(300)]

PAGES = """\
import sys
from pathlib import Path

import demo.core

site = Path("site")
site.mkdir()
(site / "index.html").write_text(f"the answer is {demo.core.answer()}")
sys.exit({code})
"""
DECLARED = '[tool.conveyor.docs]\ncommand = ["python", "pages.py"]\noutput = "site"\n'


def test_declared_command_is_run_with_the_built_wheel_and_its_pages_are_packed(
    town: Town, tmp_path: Path
) -> None:
    index_url = f"{town.url}/testing/simple/"
    stage = staged(town, tmp_path / "good", DECLARED, {"pages.py": PAGES.replace("{code}", "0")})
    assert build_docs(stage.place, stage.source, stage.built, index_url).value is True
    first = (stage.place.folder / ARCHIVE).read_bytes()
    with zipfile.ZipFile(stage.place.folder / ARCHIVE) as packed:
        assert {name: packed.read(name) for name in packed.namelist()} == {"index.html": b"the answer is 42"}
    assert pack(stage.place.folder / "docs" / "pages" / "site", tmp_path / "again.zip") == 1
    assert (tmp_path / "again.zip").read_bytes() == first
    bad = staged(town, tmp_path / "bad", DECLARED, {"pages.py": PAGES.replace("{code}", "'no'")})
    with pytest.raises(StepFailed, match=r"cannot be built \(python pages\.py, exit code 1\): no"):
        build_docs(bad.place, bad.source, bad.built, index_url)


def test_broken_link_fails_the_build_of_mkdocs_where_warnings_are_errors(tmp_path: Path) -> None:
    """With -q, MkDocs 1.6.1 counts no warning, so that --strict lets all of them pass."""
    pyproject = '[project]\nname = "demo"\nversion = "1"\n[tool.conveyor.docs]\nwarnings = "error"\n'
    pages = {"mkdocs.yml": "site_name: demo\n", "docs/index.md": "[gone](missing.md)\n"}
    root = make_project(tmp_path / "project", pyproject=pyproject, files=pages)
    plan = plan_docs(read_project(root), tmp_path / "html")
    assert plan is not None
    environment = make_environment(tmp_path / "environment")
    environment.install("mkdocs==1.6.1")
    done = run_in(environment, plan.command, folder=root)
    assert (done.return_code, count_warnings(done.output)) == (1, 1), done.output


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("", 0),
        ("built with warnings\nmakes no WARNING of a word\n", 0),
        ("/c/docs/index.rst:3: WARNING: undefined label: 'x' [ref.ref]\nWARNING: no favicon\n", 2),
        ("INFO    -  Cleaning\nWARNING -  Doc file 'index.md' contains a link\n", 1),
    ],
)
def test_warnings_that_let_documentation_pass_are_counted(output: str, expected: int) -> None:
    assert count_warnings(output) == expected


def test_project_without_documentation_goes_on(town: Town, tmp_path: Path) -> None:
    stage = staged(town, tmp_path)
    done = build_docs(stage.place, stage.source, stage.built, f"{town.url}/testing/simple/")
    assert (done.value, done.is_skipped) == (False, True)


@pytest.mark.parametrize(
    ("pyproject", "files", "expected"),
    [
        ("", {"docs/conf.py": ""}, None),
        ("", {"docs/conf.py": "", "docs/requirements.txt": "furo\n"},
         ("python", "-m", "sphinx", "-q", "-b", "html", "docs", "OUT")),
        ("[tool.conveyor.docs]\n", {"doc/source/conf.py": ""},
         ("python", "-m", "sphinx", "-q", "-b", "html", "-W", "--keep-going", "doc/source", "OUT")),
        ('[tool.conveyor.docs]\nwarnings = "ignore"\n', {"docs/conf.py": ""},
         ("python", "-m", "sphinx", "-q", "-b", "html", "docs", "OUT")),
        ('[tool.conveyor.docs]\n[dependency-groups]\ndocs = ["mkdocs"]\n', {"mkdocs.yml": ""},
         ("python", "-m", "mkdocs", "build", "--strict", "-f", "mkdocs.yml", "-d", "OUT")),
    ],
)  # fmt: skip
def test_sphinx_and_mkdocs_are_found_and_warnings_count_where_it_is_declared(
    tmp_path: Path, pyproject: str, files: dict[str, str], expected: tuple[str, ...] | None
) -> None:
    root = make_project(
        tmp_path / "project", pyproject='[project]\nname = "demo"\nversion = "1"\n' + pyproject, files=files
    )
    plan = plan_docs(read_project(root), tmp_path / "html")
    found = None if plan is None else tuple(plan.command)
    assert found == (expected and tuple(str(tmp_path / "html") if one == "OUT" else one for one in expected))


def test_declared_documentation_that_is_not_there_and_links_out_of_it_are_refused(tmp_path: Path) -> None:
    pyproject = '[project]\nname = "demo"\nversion = "1"\n[tool.conveyor.docs]\n'
    root = make_project(tmp_path / "project", pyproject=pyproject)
    with pytest.raises(StepFailed, match=r"has neither docs/conf\.py nor mkdocs\.yml"):
        plan_docs(read_project(root), tmp_path / "html")
    output = tmp_path / "html"
    output.mkdir()
    with pytest.raises(StepFailed, match=r"html has no index\.html"):
        pack(output, tmp_path / "docs.zip")
    (output / "index.html").write_text("")
    (output / "passwords").symlink_to("/etc/passwd")
    with pytest.raises(StepFailed, match="passwords in the documentation is a link that leads out of it"):
        pack(output, tmp_path / "docs.zip")


@pytest.mark.parametrize(
    ("plan", "done", "said", "hint"),
    [
        ("Sphinx", Completed(-9, "x", 3600.0, is_timed_out=True), "not built within 60 minutes", "waits for"),
        ("Sphinx", Completed(1, "a.rst:1: WARNING: no title\n", 1.0), "WARNING: no title", "warnings = "),
        ("Sphinx", Completed(2, "Extension error: no theme\n", 1.0), "no theme", "build it in the project"),
        ("lax", Completed(1, "WARNING: x\n", 1.0), "WARNING: x", "build it in the project"),
    ],
)
def test_failure_says_what_to_do_about_it(plan: str, done: Completed, said: str, hint: str) -> None:
    command = ("python", "-m", "sphinx", "docs")
    with pytest.raises(StepFailed, match=said) as failed:
        must_be_built(DocsPlan(plan, command, Requirements(), is_strict=plan == "Sphinx"), done)
    assert hint in (failed.value.hint or "")
    assert "-9" not in failed.value.message

"""The contract of the archives: each fault is named with its file, and what backends make is none."""

from __future__ import annotations

import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest
from packaging.version import Version

from conveyor.errors import ProjectError
from conveyor.project.archives import matches
from conveyor.project.build import build_distributions
from conveyor.project.contents import secrets_in, undeclared_imports
from conveyor.project.contract import check_archives
from conveyor.project.previous import PreviousRelease, find_previous
from conveyor.project.settings import read_project
from distributions_made import make_wheel
from project.backends_made import PURE, project_of
from project.checkouts import commit, git, small_model

if TYPE_CHECKING:
    from pathlib import Path

FLIT = PURE["flit"]
# Put together here, so that no scanner of this repository takes them for real ones.
KEY = b"-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSj\n-----END PRIVATE KEY-----\n"


def declared(files: dict[str, str], lines: str) -> dict[str, str]:
    return {**files, "pyproject.toml": files["pyproject.toml"] + f"\n[tool.conveyor.build]\n{lines}\n"}


@pytest.mark.parametrize(
    ("pattern", "path", "is_named"),
    [
        ("*.mo", "src/demo/locale/de.mo", True),
        ("src/demo/*.mo", "src/demo/locale/de.mo", False),
        ("src/**/*.mo", "src/demo/locale/de.mo", True),
        ("src/**/de.mo", "src/de.mo", True),
        ("/notebooks/", "notebooks/deep/one.ipynb", True),
        ("notebooks", "src/notebooks/one.ipynb", True),
        ("de.m?", "de.mo", True),
        ("a.b", "axb", False),
    ],
)
def test_patterns_are_those_of_gitignore(pattern: str, path: str, is_named: bool) -> None:
    assert matches(pattern, path) is is_named


@pytest.mark.parametrize(
    "content",
    [
        KEY,
        KEY.replace(b"PRIVATE", b"RSA PRIVATE"),
        KEY.replace(b"PRIVATE", b"OPENSSH PRIVATE").replace(b"\n", b"\r\n"),
        b"key = 'AKIA" + b"Q" * 16 + b"'",
        b"ghp_" + b"a1" * 18,
        b"github_pat_" + b"a" * 22 + b"_" + b"b" * 59,
        b"token=glpat-" + b"x" * 20,
        b"password = pypi-AgEI" + b"c" * 80,
        b"xoxb-" + b"1" * 11 + b"-" + b"d" * 24,
        b"AIza" + b"e" * 35,
        b"hf_" + b"F" * 34,
        b"npm_" + b"g" * 36,
        b"sk_live_" + b"h" * 24,
    ],
)
def test_secrets_of_documented_forms_are_found_in_their_line(content: bytes) -> None:
    assert [line for _, line in secrets_in(b"first\n" + content + b"\n")] == [2]
    assert not secrets_in(content[:-12]) or content[:10] == KEY[:10]


@pytest.mark.parametrize(
    "content",
    [
        b"AKIA" + b"IOSFODNN7EXAMPLE",
        b"if line == '-----BEGIN PRIVATE KEY-----':",
        b"-----BEGIN PUBLIC KEY-----\n" + b"M" * 64,
        b"aGVsbG8gAKIA" + b"Q" * 16,
        b"sha256:" + b"0" * 64,
    ],
)
def test_examples_and_texts_about_keys_are_no_secrets(content: bytes) -> None:
    assert secrets_in(content) == []


def test_imports_without_a_requirement_are_named_once() -> None:
    modules = {
        "demo/__init__.py": b"import numpy.linalg\nimport yaml, json\nfrom . import other\n",
        "demo/other.py": b"import numpy\ntry:\n    import rare\nexcept ImportError:\n    rare = None\n",
        "demo/tests/test_a.py": b"import pytest\n",
        "demo/fast.py": b"import _speedups\nimport sklearn\n",
    }
    found = undeclared_imports(modules, ["PyYAML>=6", "scikit-learn; extra == 'all'"], ["_speedups"])
    assert found == {"numpy": "demo/__init__.py"}


def test_secret_in_a_package_is_refused_and_one_in_its_tests_is_a_note(tmp_path: Path) -> None:
    files = {**FLIT, "tests/server.key": KEY.decode(), "src/demo/tests/server.key": KEY.decode()}
    root = project_of(tmp_path / "demo", files)
    built = build_distributions(root, tmp_path / "out")
    assert [note for note in built.notes if "src/demo/tests/server.key holds a private key" in note]
    commit(root, {"src/demo/server.key": KEY.decode()})
    with pytest.raises(ProjectError, match=r"demo/server\.key holds a private key in PEM in line 1"):
        build_distributions(root, tmp_path / "out")


def test_exception_lets_one_file_pass_and_an_unused_one_is_named(tmp_path: Path) -> None:
    allow = 'allow = [{pattern = "/src/demo/*.key", reason = "of a test"}, {pattern = "*.x", reason = "y"}]'
    root = project_of(tmp_path / "demo", {**declared(FLIT, allow), "src/demo/server.key": KEY.decode()})
    notes = build_distributions(root, tmp_path / "out").notes
    assert notes == ('"*.x" in allow under [tool.conveyor.build] excepts nothing; remove it',)


def test_file_over_its_size_is_refused(tmp_path: Path) -> None:
    noise = "".join(chr(33 + number * number % 89) + str(number) for number in range(500_000))
    root = project_of(tmp_path / "demo", {**declared(FLIT, "size_mb = 1"), "src/demo/large.txt": noise})
    with pytest.raises(ProjectError, match=r"MB, more than the 1 MB of size_mb"):
        build_distributions(root, tmp_path / "out")


def test_files_of_the_release_before_are_missed_unless_they_were_deleted_from_git(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real index has the release before; its catalogue was compiled by hand and never committed."""
    root = project_of(tmp_path / "demo", {**FLIT, "src/demo/old.json": "{}", "src/demo/old.py": ""})
    git(root, "tag", "v0.9")
    git(root, "rm", "-q", "src/demo/old.json", "src/demo/old.py")
    commit(root)
    git(root, "tag", "-f", "v1.0.0")
    members = (
        "demo/locale/de.mo",
        "demo/old.json",
        "demo/old.py",
        "demo/_fast.cpython-311-x86_64-linux-gnu.so",
    )
    wheel = make_wheel(name="demo", version="0.9", extra=dict.fromkeys(members, b""))
    folder = tmp_path / "wheels"
    folder.mkdir()
    (folder / wheel.filename).write_bytes(wheel.content)
    index = {"UV_FIND_LINKS": str(folder), "UV_OFFLINE": "1", "UV_NO_INDEX": "1"}
    project = read_project(root)
    before = find_previous(
        project, Version("1.0.0"), index_url="http://127.0.0.1:9/", repository=root, variables=index
    )
    assert before is not None
    assert (before.version, before.members) == ("0.9", frozenset({*members, "demo/__init__.py"}))
    older = find_previous(
        project, Version("0.9"), index_url="http://127.0.0.1:9/", repository=root, variables=index
    )
    assert older is None
    built = build_distributions(root, tmp_path / "out")
    with pytest.raises(ProjectError) as caught:
        check_archives(project, built.sdist, built.wheel, previous=before)
    assert "demo/locale/de.mo is not inside, but was in 0.9" in caught.value.message
    assert "old" not in caught.value.message
    known = PreviousRelease(
        "0.9", before.members, lambda: frozenset({"src/demo/locale/de.mo", "src/demo/old.json"})
    )
    notes = check_archives(project, built.sdist, built.wheel, previous=known)[1]
    assert [note.split(" is not")[0].split(": ")[1] for note in notes] == [members[3], *members[:3]]

    # Without --index-url: only where an index is configured, and what is missing is a note.
    assert find_previous(project, Version("1.0.0"), index_url=None, repository=root, variables=index) is None
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    likely = find_previous(project, Version("1.0.0"), index_url=None, repository=root, variables=index)
    assert likely is not None
    assert (likely.version, likely.is_certain) == ("0.9", False)
    assert check_archives(project, built.sdist, built.wheel, previous=likely)[1] == notes
    git(root, "tag", "-d", "v0.9")
    assert find_previous(project, Version("1.0.0"), index_url=None, repository=root, variables=index) is None


def test_payload_that_the_declaration_no_longer_names_is_no_loss(tmp_path: Path) -> None:
    root = small_model(tmp_path)
    (root / "src/small/model").mkdir()
    (root / "src/small/model/weights.bin").write_bytes(b"trained")
    built = build_distributions(root, tmp_path / "out")
    before = PreviousRelease("0.9", frozenset({"small/model/older.bin", "small/front.js"}))
    with pytest.raises(ProjectError) as caught:
        check_archives(read_project(root), built.sdist, built.wheel, previous=before)
    assert "small/front.js is not inside" in caught.value.message
    assert "older.bin" not in caught.value.message


def test_both_archives_and_all_their_faults_are_named_at_once(tmp_path: Path) -> None:
    root = project_of(tmp_path / "demo", {**FLIT, "src/demo/more.json": "{}"})
    built = build_distributions(root, tmp_path / "out")
    (root / "src/demo/data.json").write_text("[]")
    (root / "src/demo/more.json").write_text("[]")
    with pytest.raises(ProjectError) as caught:
        check_archives(read_project(root), built.sdist, built.wheel)
    message = caught.value.message
    assert message.count("does not keep the contract") == 2
    assert message.count("data.json is inside with other bytes") == 2
    assert message.count("more.json is inside with other bytes") == 2


def test_links_submodules_and_path_files_are_no_faults(tmp_path: Path) -> None:
    root = project_of(tmp_path / "demo", PURE["hatchling"])
    (root / "src/demo/linked.json").symlink_to("data.json")
    (root / "src/demo/folder").symlink_to("../../tests")
    commit(root)
    built = build_distributions(root, tmp_path / "out")
    with zipfile.ZipFile(built.wheel) as wheel:
        assert "demo/linked.json" in wheel.namelist()
    with tarfile.open(built.sdist) as sdist:
        assert sdist.getnames()


def test_several_packages_and_modules_of_one_project_are_all_expected(tmp_path: Path) -> None:
    table = '[tool.hatch.build.targets.wheel]\npackages = ["src/demo"]\n'
    more = '[tool.hatch.build.targets.wheel]\npackages = ["src/demo", "src/other"]\ninclude = ["/src"]\n'
    files = {
        "pyproject.toml": PURE["hatchling"]["pyproject.toml"].replace(table, more),
        "src/other/__init__.py": "",
        "src/other/table.csv": "1",
    }
    root = project_of(tmp_path / "demo", files)
    build_distributions(root, tmp_path / "out")
    (root / "pyproject.toml").write_text(files["pyproject.toml"] + 'exclude = ["*.csv"]\n')
    commit(root)
    with pytest.raises(ProjectError, match=r"the tracked file src/other/table\.csv is not inside"):
        build_distributions(root, tmp_path / "out")

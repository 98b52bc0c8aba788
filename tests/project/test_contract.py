"""The contract of the archives: each fault is named with its file, and what backends make is none."""

from __future__ import annotations

import base64
import json
import tarfile
import zipfile
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from packaging.version import Version

from conveyor.errors import ProjectError
from conveyor.project.archive_rules import Checkout, member_faults
from conveyor.project.archives import OpenedArchive, matches
from conveyor.project.build import _previous, build_distributions
from conveyor.project.contents import secrets_in, undeclared_imports
from conveyor.project.contract import check_archives
from conveyor.project.foreign import Surroundings
from conveyor.project.previous import PreviousRelease, find_previous, says_there_is_none
from conveyor.project.settings import read_project
from distributions_made import make_wheel
from project.backends_made import PURE, project_of
from project.checkouts import commit, git, small_model

if TYPE_CHECKING:
    from pathlib import Path

    from conveyor.project.settings import Project

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


BLOCK = KEY.replace(b"PRIVATE KEY", b"PGP PRIVATE KEY BLOCK")
HALF = b"a1B2" * 9
SECRETS = {
    "PEM": KEY,
    "PEM, RSA": KEY.replace(b"PRIVATE", b"RSA PRIVATE"),
    "PEM, OpenSSH, CRLF": KEY.replace(b"PRIVATE", b"OPENSSH PRIVATE").replace(b"\n", b"\r\n"),
    "PEM, encrypted": KEY.replace(b"Y-----\nM", b"Y-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES,00\n\nM"),
    "PEM, OpenPGP with a comment": BLOCK.replace(b"\nM", b"\nComment: EXAMPLE Corp\n\nM"),
    "PEM in JSON": json.dumps({"private_key": KEY.decode()}).encode(),
    "PEM in one line": b'KEY="' + KEY.replace(b"\n", b"\\n") + b'"',
    "PEM in joined literals": b"(" + b" +\n".join(b'b"%s\\n"' % line for line in KEY.splitlines()) + b")",
    "PEM commented out": b"".join(b"# " + line + b"\n" for line in KEY.splitlines()),
    "PEM in base64": base64.b64encode(KEY),
    "PEM in base64, from its second byte": b"k8s: " + base64.b64encode(b"#" + KEY),
    "PEM in base64, in lines": base64.encodebytes(KEY),
    "PuTTY": b"PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nPrivate-Lines: 1\n"
    + HALF
    + b"\nPrivate",
    "AWS": b"key = 'AKIA" + b"Q" * 16 + b"'",
    "GitHub": b"ghp_" + HALF,
    "GitHub in a name": b"TOKEN_ghp_" + HALF,
    "GitHub in a path": b"/ghp_" + HALF,
    "GitHub, fine-grained": b"github_pat_" + b"a" * 22 + b"_" + b"b" * 59,
    "GitLab": b"token=glpat-" + b"x" * 20,
    "PyPI": b"password = pypi-AgEI" + b"c" * 80,
    "TestPyPI": b"password = pypi-AgEN" + b"c" * 80,
    "Slack": b"xoxb-" + b"1" * 11 + b"-" + b"d" * 24,
    "Google": b"AIza" + b"e" * 35,
    "Hugging Face": b"hf_" + b"F7" * 17,
    "npm": b"npm_" + HALF,
    "Stripe": b"sk_live_" + b"h" * 24,
    "OpenAI": b"sk-" + b"i" * 20 + b"T3BlbkFJ" + b"j" * 20,
    "OpenAI, of a project": b"sk-proj-" + b"i_-3" * 20 + b"T3BlbkFJ" + b"j" * 60,
    "Anthropic": b"sk-ant-api03-" + b"k-_2" * 23 + b"AA",
    "Databricks": b"dapi" + b"0123456789abcdef" * 2,
    "Conveyor": b"conveyor-" + b"-Lm_" * 10 + b"nop",
}


@pytest.mark.parametrize("kind", SECRETS)
def test_secrets_of_documented_forms_are_found_in_their_line(kind: str) -> None:
    content = SECRETS[kind]
    assert [line for _, line in secrets_in(b"first\n" + content + b"\n")] == [2]
    assert not secrets_in(content[: len(content) // 2 - 5])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_secrets_are_found_in_wide_texts(encoding: str) -> None:
    content = f"first\n{KEY.decode()}{SECRETS['GitHub'].decode()}\n".encode(encoding)
    assert [line for _, line in secrets_in(content)] == [2, 5]


@pytest.mark.parametrize(
    "content",
    [
        b"AKIA" + b"IOSFODNN7EXAMPLE",
        b"if line == '-----BEGIN PRIVATE KEY-----':",
        b"BEGIN, END = '-----BEGIN PRIVATE KEY-----', '-----END PRIVATE KEY-----'",
        b"-----BEGIN PUBLIC KEY-----\n" + b"M" * 64,
        base64.b64encode(b"-----BEGIN CERTIFICATE-----\n" + b"M" * 64),
        b"PuTTY-User-Key-File-2: the first line; Private-Lines: 14 says how many follow",
        b"aGVsbG8gAKIA" + b"Q" * 16,
        b"sha256:" + b"0" * 64,
        b"conveyor-" + b"name-of-many-words-" * 3,
        b"task-" + b"T3BlbkFJ" * 9,
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
    with pytest.raises(ProjectError) as caught:
        build_distributions(root, tmp_path / "out")
    # In both: what lies below src/ of an sdist is the package, and no folder of tests.
    assert "- src/demo/server.key holds a private key in PEM in line 1" in caught.value.message
    assert "- demo/server.key holds a private key in PEM in line 1" in caught.value.message


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
        project, Version("1.0.0"), repository=root, around=Surroundings(index, "http://127.0.0.1:9/")
    )
    assert before is not None
    assert (before.version, before.members) == ("0.9", frozenset({*members, "demo/__init__.py"}))
    older = find_previous(
        project, Version("0.9"), repository=root, around=Surroundings(index, "http://127.0.0.1:9/")
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
    assert find_previous(project, Version("1.0.0"), repository=root, around=Surroundings(index)) is None
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    likely = find_previous(project, Version("1.0.0"), repository=root, around=Surroundings(index))
    assert likely is not None
    assert (likely.version, likely.is_certain) == ("0.9", False)
    assert check_archives(project, built.sdist, built.wheel, previous=likely)[1] == notes
    git(root, "tag", "-d", "v0.9")
    assert find_previous(project, Version("1.0.0"), repository=root, around=Surroundings(index)) is None


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


def test_links_within_the_repository_are_followed(tmp_path: Path) -> None:
    root = project_of(tmp_path / "demo", PURE["hatchling"])
    (root / "src/demo/linked.json").symlink_to("data.json")
    (root / "src/demo/folder").symlink_to("../../tests")
    commit(root)
    built = build_distributions(root, tmp_path / "out")
    with zipfile.ZipFile(built.wheel) as wheel:
        assert "demo/linked.json" in wheel.namelist()
    with tarfile.open(built.sdist) as sdist:
        assert sdist.getnames()


def test_links_to_what_no_commit_holds_are_refused_before_anything_is_built(tmp_path: Path) -> None:
    """A backend reads through them: the host's own files would be in the release."""
    root = project_of(tmp_path / "demo", {**FLIT, ".gitignore": "/.env\n/cache/\n"})
    (root / ".env").write_text("X=1")
    (tmp_path / "secret.txt").write_text("of this machine")
    links: dict[str, str | Path] = {
        "host.txt": tmp_path / "secret.txt",
        "up": "../../..",
        "git": "../../.git/config",
    }
    for name, target in {**links, "env.txt": "../../.env", "cache": "../../cache"}.items():
        (root / "src/demo" / name).symlink_to(target)
    (root / "src/demo/twice").symlink_to("host.txt")
    commit(root)
    with pytest.raises(ProjectError) as caught:
        build_distributions(root, tmp_path / "out")
    said = sorted(caught.value.message.replace("src/demo/", "").split("\n  - ")[1:])
    out = [f"{name} leads out of the repository" for name in ("git", "host.txt", "twice", "up")]
    untracked = [
        f"{name}, which git does not track" for name in ("cache leads to cache", "env.txt leads to .env")
    ]
    assert said == sorted(out + untracked)
    assert not list((tmp_path / "out").glob("*"))


def test_bytes_of_a_build_are_those_of_the_commit_whatever_the_user_says_of_line_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = project_of(tmp_path / "demo", {**FLIT, "src/demo/lines.txt": "one\ntwo\n"})
    git(root, "config", "core.autocrlf", "true")
    (root / "src/demo/lines.txt").unlink()
    (root / "src/demo/data.json").unlink()
    monkeypatch.chdir(root)
    git(root, "-c", "core.autocrlf=true", "checkout", "-q", "--", ".")
    assert (root / "src/demo/lines.txt").read_bytes() == b"one\r\ntwo\r\n"
    built = build_distributions(root, tmp_path / "out")
    with zipfile.ZipFile(built.wheel) as wheel:
        assert wheel.read("demo/lines.txt") == b"one\ntwo\n"


def test_submodules_and_pointers_of_lfs_are_refused_by_name_with_what_to_do(tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 12\n"
    root = project_of(tmp_path / "demo", {**FLIT, "src/demo/weights.bin": pointer})
    head = git(root, "rev-parse", "HEAD")
    for path in ("src/demo/part", "vendor"):
        (root / path).mkdir()
        git(root, "update-index", "--add", "--cacheinfo", f"160000,{head},{path}")
    git(root, "commit", "-q", "-m", "Add parts")
    with pytest.raises(ProjectError) as caught:
        build_distributions(root, tmp_path / "out")
    message = caught.value.message
    assert "src/demo/part is a submodule, whose files are not there" in message
    assert "vendor" not in message  # it is no part of the package
    assert message.count("demo/weights.bin is a pointer of Git LFS") == 2
    assert "git lfs untrack" in str(caught.value.hint)
    assert "git subtree" in str(caught.value.hint)
    assert "[tool.flit.sdist]" not in str(caught.value.hint)


PROJECT = SimpleNamespace(
    name="demo", package="demo", package_folder="src/demo", import_root="src", version_files=(), payload=(),
    backend="flit_core",
)  # fmt: skip


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("src/demo/fast.c", None),
        ("src/demo/locale/de.po", None),
        ("src/demo/.gitkeep", None),
        ("src/demo/prompts/system.md", "src/demo/prompts/system.md"),
        ("src/demo/page.html.template", "src/demo/page.html.template"),
        ("src/demo/look.ipynb", "src/demo/look.ipynb"),
        ("src/demo/.defaults", "src/demo/.defaults"),
        ("src/demo/examples/deep/one.json", "src/demo/examples/"),
        ("src/demo/testing/checks.py", "src/demo/testing/"),
        ("src/demo/table.csv", "the tracked file src/demo/table.csv is not inside"),
        ("src/demo/more/code.py", "the tracked file src/demo/more/code.py is not inside"),
    ],
)
def test_tracked_files_that_a_wheel_lacks_are_faults_or_notes_unless_they_are_compiled(
    path: str, said: str | None
) -> None:
    inside = {"demo/__init__.py": "0", "demo/data/one.csv": "1"}
    wheel = OpenedArchive(name="demo", version=Version("1.0"), metadata={}, digests=inside)
    tracked = {**{f"src/{member}": sha256 for member, sha256 in inside.items()}, path: "2"}
    checkout = Checkout(cast("Project", PROJECT), tracked)
    found = [(fault.text, fault.is_note) for fault in member_faults(checkout, wheel, {})]
    assert found == ([] if said is None else [(said, "not inside" not in said)])


@pytest.mark.parametrize(
    ("message", "is_none"),
    [
        ("Because demo was not found in the package registry and you require demo<1.0", True),
        ("Because only demo==2.0 is available and you require demo<1.0", True),
        ("Because only the following versions of demo are available:\n demo==2.0\n demo==2.1", True),
        (
            "demo was not found in the package registry\nhint: An index URL could not be queried due to",
            False,
        ),
        ("demo was not found in the package registry\nhint: An index returned a 403 Forbidden error.", False),
        ("Because demo==0.5 has no usable wheels and you require demo==0.5", False),
        ("Failed to fetch\n cause: Connection refused", False),
        ("uv pip was ended after 300.0 s", False),
    ],
)
def test_index_without_an_earlier_release_is_told_from_one_that_fails(message: str, is_none: bool) -> None:
    assert says_there_is_none(message) is is_none


def test_release_before_that_cannot_be_had_is_a_note(tmp_path: Path) -> None:
    project = read_project(project_of(tmp_path / "demo", FLIT))
    nobody = Surroundings({"UV_HTTP_RETRIES": "0"}, "http://127.0.0.1:9/")
    found, notes = _previous(project, Version("1.0.0"), project.root, None, nobody)
    assert found is None
    assert [note.partition(", which")[0] for note in notes] == [
        "nothing was compared with the release before"
    ]
    assert "Failed to fetch" in notes[0]


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

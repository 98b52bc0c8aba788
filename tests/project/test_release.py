"""Releases with real git, a real remote and real keys: what is proposed, written, tagged and pushed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from conveyor.cli import run
from conveyor.domain.people.keys import fingerprint
from conveyor.domain.releases.tags import parse_signed_tag
from conveyor.errors import InvalidVersion, ProjectError
from conveyor.project.clones import leave_one_tag, tag_object
from conveyor.project.git import all_tags
from conveyor.project.release import Asked, plan_release
from conveyor.project.settings import find_project
from conveyor.project.tagging import Plan, carry_out
from conveyor.project.trees import version_of_checkout
from domain.test_gates import WHEEL, built, verdict
from gpg_keys import gpg_home
from project.checkouts import IDENTITY, commit, git

PYPROJECT = '[project]\nname = "demo"\ndynamic = ["version"]\n'
DAY = "2026-11-29"


@pytest.fixture(autouse=True)
def _identity(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in IDENTITY.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A project with one function, pushed to a remote beside it."""
    root = tmp_path / "demo"
    root.mkdir()
    git(tmp_path, "init", "-q", "--bare", "remote.git")
    git(root, "init", "-q", "-b", "main")
    git(root, "remote", "add", "origin", str(tmp_path / "remote.git"))
    commit(root, {"pyproject.toml": PYPROJECT, "src/demo/__init__.py": "def f(a): ...\n"})
    git(root, "push", "-q", "origin", "main")
    return root


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


def plan(root: Path, asked: Asked) -> Plan:
    return plan_release(find_project(root), asked, date=DAY)


def release(root: Path, asked: Asked) -> Plan:
    made = plan(root, asked)
    carry_out(made, tell=lambda _: None)
    return made


def on_remote(root: Path, ref: str) -> str:
    return git(root.parent / "remote.git", "rev-parse", "--verify", f"{ref}^{{commit}}")


def test_candidate_and_final_stand_on_one_commit_and_are_pushed(checkout: Path, key: Path) -> None:
    candidate = release(checkout, Asked("rc"))
    assert candidate.tag == "v0.1.0rc1"
    assert git(checkout, "log", "-1", "--format=%s") == "Write the changelog of 0.1.0"
    assert (
        on_remote(checkout, "v0.1.0rc1") == on_remote(checkout, "main") == git(checkout, "rev-parse", "HEAD")
    )
    commit(checkout, {"later": "not part of it"})
    final = release(checkout, Asked("final", sign_key=f"{key}.pub"))
    assert final.tag == "v0.1.0"
    assert on_remote(checkout, "v0.1.0") == on_remote(checkout, "v0.1.0rc1")
    assert "1 later commits are not part of it" in final.reasons
    signed = tag_object(checkout, "v0.1.0")
    assert signed is not None
    assert parse_signed_tag(signed).version == "0.1.0"
    with pytest.raises(ProjectError, match=r"no candidate was tagged in this history since 0.1.0"):
        plan(checkout, Asked("final", sign_key=f"{key}.pub"))
    git(checkout, "tag", "-f", "v0.1.0", "v0.1.0^{commit}")
    git(checkout, "push", "-q", "-f", "origin", "v0.1.0")
    with pytest.raises(ProjectError, match=r"0\.1\.0 is tagged already, as v0\.1\.0 on .*not signed") as told:
        plan(checkout, Asked("final", sign_key=f"{key}.pub"))
    steps = str(told.value.hint).partition(": ")[2].split(" && ")
    assert steps[2] == f"conveyor release --project {checkout} final"
    for step in steps[:2]:
        git(checkout, *step.split()[3:])
    again = release(checkout, Asked("final", sign_key=f"{key}.pub"))
    assert (again.tag, again.commit) == (final.tag, final.commit)


def test_key_that_the_store_does_not_count_makes_no_final(checkout: Path, key: Path) -> None:
    def unknown(signer: str) -> str:
        raise ProjectError(f"{fingerprint(signer)} is not registered")

    release(checkout, Asked("rc"))
    with pytest.raises(ProjectError, match=r"SHA256:\S+ is not registered"):
        carry_out(plan(checkout, Asked("final", sign_key=f"{key}.pub")), tell=print, check_key=unknown)
    assert git(checkout, "tag") == "v0.1.0rc1"


def test_archives_in_dist_stop_no_release_and_are_never_to_be_committed(checkout: Path) -> None:
    (checkout / "dist").mkdir()
    (checkout / "dist" / "former_name-0.1.0-py3-none-any.whl").touch()
    assert plan(checkout, Asked("rc")).tag == "v0.1.0rc1"
    (checkout / "other-1.0.tar.gz").touch()
    with pytest.raises(ProjectError, match=r"other-1\.0\.tar\.gz\nhint: remove these archives, or name"):
        plan(checkout, Asked("rc"))


def test_version_follows_the_difference_of_the_public_api(checkout: Path) -> None:
    git(checkout, "tag", "v1.2.0")
    commit(
        checkout, {"src/demo/__init__.py": "def f(a, b=1): ...\n", "CHANGELOG.md": "## Unreleased\n\n- b\n"}
    )
    made = release(checkout, Asked("rc", pushes=False))
    assert (made.tag, [one.said for one in made.changes]) == ("v1.3.0rc1", ["parameter b of demo.f() is new"])
    assert (checkout / "CHANGELOG.md").read_text() == f"## Unreleased\n\n## 1.3.0 - {DAY}\n\n- b\n"
    commit(checkout, {"src/demo/__init__.py": "def f(a, b=2): ...\n"})
    assert release(checkout, Asked("rc", pushes=False)).tag == "v1.3.0rc2"
    commit(checkout, {"src/demo/__init__.py": "def g(a): ...\n"})
    with pytest.raises(
        ProjectError, match=r"1.3.0 would be a minor release, but .*\n- function demo.f was removed"
    ):
        plan(checkout, Asked("minor", pushes=False))
    excused = plan(checkout, Asked("minor", pushes=False, although="nobody calls f"))
    assert excused.tag == "v1.3.0rc3"
    assert "nobody calls f" in excused.message
    assert plan(checkout, Asked("rc", pushes=False)).tag == "v2.0.0rc1"


def test_nothing_is_written_by_a_plan_or_if_anything_is_wrong(checkout: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    git(tmp_path, "clone", "-q", str(tmp_path / "remote.git"), str(other))
    git(other, "checkout", "-q", "-B", "main", "origin/main")
    commit(other, {"theirs": "x"})
    git(other, "push", "-q", "origin", "main")
    (checkout / "src/demo/new.py").write_text("")
    git(checkout, "checkout", "-q", "--detach")
    before = git(checkout, "for-each-ref") + git(checkout, "status", "--porcelain")
    with pytest.raises(ProjectError) as caught:
        plan(checkout, Asked("rc"))
    assert "src/demo/new.py" in caught.value.message
    assert "no branch is checked out" in caught.value.message
    git(checkout, "switch", "-q", "main")
    (checkout / "src/demo/new.py").unlink()
    with pytest.raises(ProjectError, match=r"main is behind origin\nhint: .*pull --rebase origin main"):
        plan(checkout, Asked("rc"))
    with pytest.raises(ProjectError, match=r'(?s)"elsewhere" cannot be read.*known are origin.*--no-push'):
        plan(checkout, Asked("rc", remote="elsewhere"))
    plan(checkout, Asked("rc", pushes=False))
    assert before.splitlines()[0] in git(checkout, "for-each-ref")
    assert not git(checkout, "status", "--porcelain")
    assert not git(checkout, "tag", "--list")


def test_folder_without_a_commit_is_told(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    for _ in ("no repository", "no commit"):
        with pytest.raises(ProjectError, match="has no commit that could be released"):
            plan(tmp_path, Asked("rc"))
        git(tmp_path, "init", "-q")


def test_final_without_a_key_names_the_commands(checkout: Path) -> None:
    release(checkout, Asked("rc"))
    with pytest.raises(ProjectError, match=r"git knows no key to sign with\nhint: .*config gpg.format ssh"):
        plan(checkout, Asked("final"))
    assert git(checkout, "tag", "--list") == "v0.1.0rc1"


def test_failed_push_is_continued_by_the_same_command(checkout: Path, key: Path) -> None:
    remote = checkout.parent / "remote.git"
    made = plan(checkout, Asked("rc"))
    remote.rename(remote.with_suffix(".away"))
    with pytest.raises(ProjectError, match=r"v0.1.0rc1 is made here, but cannot be pushed") as caught:
        carry_out(made, tell=lambda _: None)
    assert "same command again" in str(caught.value.hint)
    remote.with_suffix(".away").rename(remote)
    again = release(checkout, Asked("rc"))
    assert (again.is_made, again.changelog, on_remote(checkout, "v0.1.0rc1")) == (
        True, None, git(checkout, "rev-parse", "HEAD"),
    )  # fmt: skip
    release(checkout, Asked("final", pushes=False, sign_key=str(key)))
    assert release(checkout, Asked("final")).is_made
    assert on_remote(checkout, "v0.1.0") == on_remote(checkout, "v0.1.0rc1")


def test_candidate_of_the_same_commit_is_not_made_twice(checkout: Path) -> None:
    release(checkout, Asked("rc"))
    with pytest.raises(ProjectError, match=r"this commit is v0.1.0rc1 already"):
        plan(checkout, Asked("rc"))


def test_tag_that_is_taken_on_another_branch_or_at_the_remote_is_refused(checkout: Path) -> None:
    git(checkout, "tag", "v1.0.0")
    git(checkout, "switch", "-q", "-c", "other")
    git(checkout, "tag", "v1.0.1", commit(checkout, {"a": "a"}))
    git(checkout, "push", "-q", "origin", "v1.0.1")
    git(checkout, "switch", "-q", "main")
    commit(checkout, {"b": "b"})
    with pytest.raises(ProjectError, match=r"1.0.1 is released already, as v1.0.1"):
        plan(checkout, Asked("patch", pushes=False))
    git(checkout, "tag", "-d", "v1.0.1")
    with pytest.raises(ProjectError, match=r"1.0.1 is released already, as v1.0.1"):
        plan(checkout, Asked("patch"))
    git(checkout, "tag", "v1.0.5", "other")
    with pytest.raises(ProjectError, match=r"1.0.2rc1 would come after v1.0.5, a later release"):
        plan(checkout, Asked("patch", named="1.0.2"))


def test_static_version_must_state_what_is_released_and_is_never_changed(checkout: Path) -> None:
    git(checkout, "tag", "v1.0.0")
    static = '[project]\nname = "demo"\nversion = "1.0.0"\n'
    commit(checkout, {"pyproject.toml": static})
    with pytest.raises(ProjectError, match=r"states the version 1.0.0, but this release leads to 1.0.1"):
        plan(checkout, Asked("rc"))
    commit(checkout, {"pyproject.toml": static.replace("1.0.0", "1.1.0")})
    made = release(checkout, Asked("rc"))
    assert made.tag == "v1.1.0rc1"
    assert "the project states 1.1.0" in made.reasons
    assert git(checkout, "diff", "--name-only", "HEAD~1") == "CHANGELOG.md"


def test_project_in_a_larger_repository_has_tags_a_changelog_and_commits_of_its_own(
    checkout: Path, key: Path
) -> None:
    commit(
        checkout,
        {"libs/mine/pyproject.toml": PYPROJECT.replace("demo", "mine"), "libs/mine/mine/__init__.py": ""},
    )
    git(checkout, "tag", "mine/v1.0.0")
    git(checkout, "tag", "v7.0.0")
    commit(checkout, {"src/demo/other.py": "def elsewhere(): ..."})
    commit(checkout, {"libs/mine/mine/__init__.py": "def f(): ...\n"})
    subject = git(checkout, "log", "-1", "--format=%s")
    mine = checkout / "libs/mine"
    made = release(mine, Asked("rc"))
    assert (made.tag, [one.said for one in made.changes]) == ("mine/v1.1.0rc1", ["function mine.f is new"])
    assert git(checkout, "diff", "--name-only", "HEAD~1") == "libs/mine/CHANGELOG.md"
    assert (mine / "CHANGELOG.md").read_text().endswith(f"## 1.1.0 - {DAY}\n\n- {subject}\n")
    assert release(mine, Asked("final", sign_key=str(key))).tag == "mine/v1.1.0"
    assert on_remote(checkout, "mine/v1.1.0") == on_remote(checkout, "mine/v1.1.0rc1")


def test_two_tags_of_the_last_version_are_refused(checkout: Path) -> None:
    git(checkout, "tag", "1.0.0")
    git(checkout, "tag", "v1.0.0")
    commit(checkout, {"a": "a"})
    with pytest.raises(InvalidVersion, match=r'"1\.0\.0" and "v1\.0\.0" both name the version 1\.0\.0'):
        plan(checkout, Asked("rc"))


def test_tags_of_strange_letters_name_no_version_and_break_nothing(checkout: Path) -> None:
    """Git lets a tag hold Unicode's spaces and ends of lines, and bytes that are not UTF-8."""
    names = [f"x{space}v9.0.0".encode() for space in "\u2003\u2028\x85"] + ["v9.1.0\u2003".encode()]
    for name in [*names, "v9.2.\u0661".encode(), b"a\xff", b"\xff-v9.3.0", b"v1.0.0.RC1"]:
        subprocess.run([b"git", b"tag", name], cwd=checkout, check=True)
    git(checkout, "push", "-q", "origin", "--tags")
    version = version_of_checkout(find_project(checkout))
    assert str(version.checked()) == "1.0.0rc1"
    assert str(version.reasons).encode()
    commit(checkout, {"src/demo/__init__.py": "def f(a, b=1): ...\n"})
    assert plan(checkout, Asked("rc")).tag == "v1.0.0rc2"
    assert len(all_tags(checkout)) == len(names) + 4
    leave_one_tag(checkout, "v2.0.0")
    assert all_tags(checkout) == ("v2.0.0",)


def test_command_says_what_it_would_do_and_does_it_when_asked(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["release", "rc", "--project", str(checkout)]
    assert run([*words, "--dry-run"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "v0.1.0rc1\n"
    assert (
        f"would: git -C {checkout} push --atomic origin HEAD:refs/heads/main refs/tags/v0.1.0rc1" in shown.err
    )
    assert not git(checkout, "tag", "--list")
    (checkout / "CHANGELOG.md").write_text("# Changelog\n")
    for line in shown.err.splitlines():  # what is shown works as it is typed
        if line.startswith("would: "):
            subprocess.run(line.removeprefix("would: "), shell=True, check=True)  # noqa: S602 - it is typed
    assert on_remote(checkout, "v0.1.0rc1") == git(checkout, "rev-parse", "HEAD")
    git(checkout, "push", "-q", "--force", "origin", ":refs/tags/v0.1.0rc1", "HEAD~1:refs/heads/main")
    git(checkout, "reset", "-q", "--hard", "HEAD~1")
    git(checkout, "tag", "-d", "v0.1.0rc1")
    assert run(words) == 0
    assert capsys.readouterr().err.endswith("pushed v0.1.0rc1 to origin\n")
    assert run(["release", "rc", "--although", "x", "--project", str(checkout)]) == 2
    assert run(["release", "final", "--project", str(checkout)]) == 8
    assert "config user.signingkey" in capsys.readouterr().err


def test_final_is_signed_with_openpgp_where_git_is_configured_so(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with gpg_home() as home:
        key = home.make_key("qa")
        monkeypatch.setenv("GNUPGHOME", str(home.folder))
        git(checkout, "config", "user.signingkey", key)
        release(checkout, Asked("rc"))
        release(checkout, Asked("final"))
        signed = tag_object(checkout, "v0.1.0")
        assert signed is not None
        assert parse_signed_tag(signed).public_key == f"openpgp {key}"


def test_tag_is_spelled_as_the_last_one(checkout: Path) -> None:
    git(checkout, "tag", "1.0.0")
    commit(checkout, {"a": "a"})
    assert plan(checkout, Asked("rc")).tag == "1.0.1rc1"


def test_final_without_a_candidate_must_be_asked_for(checkout: Path, key: Path) -> None:
    with pytest.raises(ProjectError, match=r"no candidate was tagged") as caught:
        plan(checkout, Asked("final", sign_key=str(key)))
    assert "--without-candidate" in str(caught.value.hint)
    made = release(checkout, Asked("final", sign_key=str(key), without_candidate=True))
    assert (made.tag, on_remote(checkout, "v0.1.0")) == ("v0.1.0", git(checkout, "rev-parse", "HEAD"))


def test_changelog_keeps_its_line_endings_and_must_be_text(checkout: Path) -> None:
    commit(checkout)
    (checkout / "CHANGELOG.md").write_bytes(b"# Changelog\r\n\r\n## Unreleased\r\n\r\n- One\r\n")
    git(checkout, "add", "--all")
    commit(checkout)
    release(checkout, Asked("rc"))
    assert (checkout / "CHANGELOG.md").read_bytes() == (
        f"# Changelog\r\n\r\n## Unreleased\r\n\r\n## 0.1.0 - {DAY}\r\n\r\n- One\r\n".encode()
    )
    (checkout / "CHANGELOG.md").write_bytes(b"\xff\xfe")
    commit(checkout)
    with pytest.raises(ProjectError, match=r"CHANGELOG\.md is not text in UTF-8"):
        plan(checkout, Asked("rc"))


def test_changelog_of_another_name_must_mention_the_version(checkout: Path) -> None:
    commit(checkout, {"CHANGES.rst": "0.0.9\n"})
    with pytest.raises(ProjectError, match=r"CHANGES\.rst does not mention 0\.1\.0"):
        plan(checkout, Asked("rc"))
    assert plan(checkout, Asked("rc", writes_changelog=False)).changelog is None
    commit(checkout, {"CHANGES.rst": "0.1.0\n"})
    assert plan(checkout, Asked("rc")).changelog is None


# --- what gates tell people to type -------------------------------------------------------------------------


def typed(root: Path, step: str, *, key: Path) -> str:
    """Type the command at the end of a step, in a clone; returns what it wrote."""
    command = step.rpartition(": ")[2].replace("KEY", str(key))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-ec", command], cwd=root, env=os.environ | {"PATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    return done.stdout


def test_every_step_from_a_commit_to_a_signed_final_works_as_it_is_typed(tmp_path: Path, key: Path) -> None:
    """For a project in a folder, where a command that forgets the folder or the prefix would fail."""
    root, remote = tmp_path / "demo", tmp_path / "remote.git"
    git(tmp_path, "init", "-q", "--bare", "-b", "main", str(remote))
    git(tmp_path, "clone", "-q", str(remote), str(root))
    made = commit(root, {"packages/demo/pyproject.toml": PYPROJECT, "packages/demo/src/demo/__init__.py": ""})
    git(root, "push", "-q", "origin", "main")
    for name, value in (("gpg.format", "ssh"), ("user.signingkey", f"{key}.pub")):
        git(root, "config", name, value)

    def step(version: str, tag: str | None) -> str:
        evidence = built(WHEEL, commit=made, tag=tag, folder="packages/demo")
        gate = "final-version" if tag is None else "qa-signature"
        return verdict(gate, [WHEEL], evidence, version=version).next_step or ""

    def signed(tag: str) -> str:
        raw = tag_object(remote, tag)
        assert raw is not None
        return parse_signed_tag(raw).version

    of_commit = step(f"0.0.1.dev1+g{made[:9]}", None)
    by_tag, _, by_branch = of_commit.partition("; or")
    assert typed(root, by_branch, key=key) == "demo/v0.1.0rc1\n"
    typed(root, by_tag, key=key)
    assert on_remote(root, "demo/v0.0.1rc1") == made
    assert typed(root, step("0.1.0rc1", "demo/v0.1.0rc1"), key=key) == "demo/v0.1.0\n"
    assert signed("demo/v0.1.0") == "0.1.0"
    typed(root, step("0.2.0a1", "demo/v0.2.0a1"), key=key)
    assert signed("demo/v0.2.0") == "0.2.0"
    git(root, "tag", "demo/v0.3.0", made)
    git(root, "push", "-q", "origin", "demo/v0.3.0")
    typed(root, step("0.3.0", "demo/v0.3.0"), key=key)
    assert signed("demo/v0.3.0") == "0.3.0"

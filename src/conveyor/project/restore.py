"""Restores the environment of a release as it was tested: the lock from the store, and uv or plain pip.

1. the lock, and a Python of exactly its version, with which all of its files fit
2. an empty environment, marked as unfinished
3. exactly the files that the lock names, by digest, from the store that was named
4. the comparison: what is installed is what the lock says; the lock is kept in the environment

Credentials go into a file that only this user can read, outside of the environment, for the time of the
installation.

With warm caches uv needs a tenth of a second, so what is imported here is paid for: other interpreters are
looked for, and tags of wheels computed, only when the running Python is not the one of the lock, or something
has failed.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import sys
import sysconfig
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from conveyor.client.connection import fetch, lock_request
from conveyor.domain.releases.locks import read_lock
from conveyor.errors import Conflict, MissingTool, ProjectError
from conveyor.project.environment import Environment, make_environment, run_in
from conveyor.project.foreign import (
    Sight,
    Surroundings,
    clean_environment_variables,
    run_foreign,
)
from conveyor.project.uv import PYLOCK, sync_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from conveyor.domain.releases.locks import Lock
    from conveyor.project.foreign import Completed
    from conveyor.project.interpreters import Interpreter

Tool = Literal["uv", "pip"]
UNFINISHED = ".unfinished-restore"
INSTALL_SECONDS = 3600.0
_SEEDS = frozenset({"pip", "setuptools", "wheel"})
"""What ``python -m venv`` puts into an environment, depending on its version."""
_NO_PIP = re.compile(r"No module named pip\b|no such option: --python")
"""What a Python says that cannot install into an environment without pip: pip is missing, or before 22.3."""
_ENVIRONMENTS = re.compile(r"^environments = \[.*\]$", re.MULTILINE)


@dataclass(frozen=True)
class Restored:
    """An environment that is as the lock says."""

    folder: Path
    python: str
    packages: int


def restore_release(
    store_url: str,
    project: str,
    version: str,
    folder: Path,
    *,
    index: str | None = None,
    python: str | None = None,
    tool: Tool = "uv",
    is_other_patch_allowed: bool = False,
    token: str | None = None,
    on_line: Callable[[str], None] | None = None,
) -> Restored:
    """Rebuild the environment in which a release passed its tests, in a folder that is new or empty.

    Args:
        store_url: the store; the files come from it too, whatever address the lock names.
        project: the release's project.
        version: its version.
        folder: where the environment will be.
        index: the index whose tests are meant; ``None``: the most mature one.
        python: such as ``3.12``, if the release was tested on several; ``None``: the newest.
        tool: what installs.
        is_other_patch_allowed: whether another patch release of the same Python will do.
        token: for the store; ``None``: what the user's netrc file says, if anything.
        on_line: called with each line that the tool writes.

    Raises:
        NotFound: the store has no such release, or no such lock of it.
        Conflict: there is something else in the folder.
        MissingTool: this machine has no such Python; the message names those that were looked at.
        ProjectError: a file does not fit this machine, has other bytes, or could not be installed.
    """
    # 1. the lock, its Python
    request = lock_request(project, version, python=python, index=index)
    content = fetch(store_url, request, token=token or token_in_netrc(store_url))
    store_url = store_url.rstrip("/")
    lock = read_lock(content)
    here = find_python(lock, is_other_patch_allowed=is_other_patch_allowed)
    # 2. an environment
    _prepare(folder)
    try:
        with _secrets(store_url, token) as secrets:
            # 3. its files
            variables = secrets | _sources(store_url, index, lock)
            order = _Order(folder, here, lock, store_url, variables, on_line)
            _install(order, content, tool)
        # 4. the comparison
        _compare(folder, lock)
        (folder / PYLOCK).write_bytes(content)
        (folder / UNFINISHED).unlink(missing_ok=True)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Restored(folder, here.name, len(lock.files))


@dataclass(frozen=True)
class _Python:
    """The interpreter of an environment."""

    path: Path
    name: str
    """As evidence states it."""


def find_python(lock: Lock, *, is_other_patch_allowed: bool = False) -> _Python:
    """The interpreter of this machine that a lock was made with.

    Raises:
        MissingTool: there is none; the message names those that were looked at.
        ProjectError: a file of the lock is for another platform.
    """
    if sys.implementation.name == "cpython" and (lock.python, lock.platform) == (
        platform.python_version(),
        sysconfig.get_platform(),
    ):
        return _Python(Path(os.path.realpath(sys.executable)), platform.python_version())
    found = find_interpreter(lock, is_other_patch_allowed=is_other_patch_allowed)
    here = _Python(found.path, found.name)
    _refuse_unfitting(lock, here)
    return here


def find_interpreter(lock: Lock, *, is_other_patch_allowed: bool = False) -> Interpreter:
    """The interpreter of this machine that a lock was made with.

    Raises:
        MissingTool: there is none; the message names those that were looked at.
    """
    from conveyor.domain.words.names import minor_of
    from conveyor.project.interpreters import interpreters, running_interpreter

    wanted = lock.python or ""
    here = running_interpreter()
    if wanted == here.name:  # the others need not be run to describe themselves
        return here
    same = next((one for one in interpreters(wanted) if one.name == wanted), None)
    if same is not None:
        return same
    found = {one.name: one for one in interpreters()}
    if not wanted:
        raise ProjectError("the lock does not say which Python it was made with")
    alike = [name for name in found if minor_of(name) == minor_of(wanted)]
    if alike and is_other_patch_allowed:
        return found[alike[0]]
    looked = ", ".join(sorted(found)) or "none"
    hint = f"install it, for example with: uv python install {wanted}"
    if alike:
        hint += f"; or take {alike[0]} with --other-patch"
    raise MissingTool(
        f"the release was tested on Python {wanted}, which this machine does not have; it has {looked}",
        hint=hint,
    )


def _refuse_unfitting(lock: Lock, here: _Python) -> None:
    """Raise ProjectError when wheels of the lock are for another platform."""
    from conveyor.project.interpreters import ask

    interpreter = ask(here.path)
    if isinstance(interpreter, str):
        raise ProjectError(f"{here.path} is no Python: {interpreter}")
    wheels = [file.filename for file in lock.files if file.filename.endswith(".whl")]
    strange = [name for name in wheels if not interpreter.fits(name)]
    if strange:
        raise ProjectError(
            f"the release was tested on {lock.platform or 'another platform'}, and this machine is "
            f"{interpreter.platform}: {', '.join(strange[:5])} cannot be installed here",
            hint="restore it on a machine of that platform",
        )


def _prepare(folder: Path) -> None:
    """Make the folder, or empty one that an interrupted restore has left."""
    if (folder / UNFINISHED).is_file():
        shutil.rmtree(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Conflict(f"there is something in {folder} already", hint="name another folder, or remove it")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / UNFINISHED).touch()


@contextmanager
def _secrets(store_url: str, token: str | None) -> Iterator[dict[str, str]]:
    """The variables by which uv and pip find credentials: those of a netrc file, given or made."""
    if token is None:
        with_user = os.environ.get("NETRC")
        yield {"NETRC": with_user} if with_user else {}
        return
    with tempfile.TemporaryDirectory(prefix="conveyor-restore-") as scratch:
        path = Path(scratch) / "netrc"
        path.touch(mode=0o600)
        host = urlsplit(store_url).hostname or ""
        path.write_text(f"machine {host} login __token__ password {token}\n", encoding="utf-8")
        yield {"NETRC": str(path)}


def token_in_netrc(store_url: str) -> str | None:
    """The token for a store in the user's netrc file; ``None`` if it has none."""
    path = os.environ.get("NETRC") or str(Path.home() / ".netrc")
    if not Path(path).is_file():
        return None
    import netrc

    with suppress(OSError, netrc.NetrcParseError):
        found = netrc.netrc(path).authenticators(urlsplit(store_url).hostname or "")
        if found is not None and found[0] == "__token__":
            return found[2]
    return None


def _sources(store_url: str, index: str | None, lock: Lock) -> dict[str, str]:
    """Where requirements to build an sdist come from: what was there at the time of the test."""
    url = f"{store_url}/{index or 'stable'}/simple/"
    found = {"UV_DEFAULT_INDEX": url, "PIP_INDEX_URL": url}
    if lock.has_sources and lock.tested_at is not None:
        found["UV_EXCLUDE_NEWER"] = lock.tested_at
    return found


@dataclass(frozen=True)
class _Order:
    """What is to be installed, and where."""

    folder: Path
    python: _Python
    lock: Lock
    store_url: str
    variables: Mapping[str, str]
    on_line: Callable[[str], None] | None


def _install(order: _Order, content: bytes, tool: Tool) -> None:
    try:
        if tool == "uv":
            _by_uv(order, content)
        else:
            _by_pip(order)
    except ProjectError:
        _refuse_unfitting(order.lock, order.python)  # says more clearly what the installer has met
        raise


def _by_uv(order: _Order, content: bytes) -> None:
    folder = order.folder
    (folder / UNFINISHED).unlink()
    environment = make_environment(folder, python=str(order.python.path))
    (folder / UNFINISHED).touch()
    with tempfile.TemporaryDirectory(prefix="conveyor-restore-") as scratch:
        path = Path(scratch) / PYLOCK
        path.write_text(_lock_here(order, content.decode()), encoding="utf-8")
        around = Surroundings(order.variables, on_line=order.on_line)
        # Links: nothing here changes installed files.
        sync_lock(environment.python, path, around, may_link=True, timeout_seconds=INSTALL_SECONDS)


def _lock_here(order: _Order, text: str) -> str:
    """The lock with the addresses of the store that was named, and for the patch release that was allowed."""
    lock = order.lock
    for url in {*(file.url for file in lock.files), *lock.indexes}:
        text = text.replace(json.dumps(url), json.dumps(_url_here(url, order)))
    return text if order.python.name == lock.python else _ENVIRONMENTS.sub("", text, count=1)


def _by_pip(order: _Order) -> None:
    """Any pip installs requirements with hashes; only the newest ones read a lock.

    The pip of the interpreter installs from outside. Where it is missing or too old, the environment gets one
    for the time of the installation.
    """
    environment = Environment(order.folder.absolute())
    python = str(order.python.path)
    lines = [
        f"{one.project} @ {_url_here(one.url, order)} --hash=sha256:{one.sha256}" for one in order.lock.files
    ]
    with tempfile.TemporaryDirectory(prefix="conveyor-restore-") as scratch:
        path = Path(scratch) / "requirements.txt"
        path.write_text("\n".join([*lines, ""]), encoding="utf-8")
        # Like uv, it leaves compiling to the first import.
        words = ["install", "--no-input", "--no-compile", "--no-deps", "--require-hashes", "-r", str(path)]
        if order.lock.has_sources and order.lock.tested_at is not None:
            words += ["--uploaded-prior-to", order.lock.tested_at]
        _make_by_venv(order, "--without-pip")
        done = _run_pip(order, [python, "-I", "-m", "pip", "--python", str(environment.python), *words])
        if not done.return_code:
            return
        if _NO_PIP.search(done.output) is None:
            raise _pip_failed(done)
        _make_by_venv(order, "--clear")
        own_pip = [str(environment.python), "-I", "-m", "pip"]
        done = _run_pip(order, [*own_pip, *words])
        if done.return_code:
            raise _pip_failed(done)
    seeds = _SEEDS & (_installed(order.folder).keys() - {one.project for one in order.lock.files})
    if seeds:
        done = _run_pip(order, [*own_pip, "uninstall", "--yes", *sorted(seeds)])
        if done.return_code:
            raise _pip_failed(done)


def _make_by_venv(order: _Order, option: str) -> None:
    python, folder = order.python.path, order.folder.absolute()
    sight = Sight(
        clean_environment_variables() | dict(order.variables), reads=(python,), writes=(order.folder,)
    )
    made = run_foreign([str(python), "-I", "-m", "venv", option, str(folder)], sight, on_line=order.on_line)
    if made.return_code:
        raise MissingTool(
            f"{python} cannot make an environment with pip: {made.output.strip()[-500:]}",
            hint="install its venv module (python3-venv), or use --tool uv",
        )
    (folder / UNFINISHED).touch()


def _run_pip(order: _Order, command: list[str]) -> Completed:
    around = Surroundings(order.variables, on_line=order.on_line)
    environment = Environment(order.folder.absolute(), around)
    return run_in(environment, command, writes=(order.folder,), timeout_seconds=INSTALL_SECONDS)


def _pip_failed(done: Completed) -> ProjectError:
    if "no such option: --uploaded-prior-to" in done.output:
        return ProjectError(
            "a file of the lock must be built, and this pip cannot leave out what came after the test",
            hint="use --tool uv, or a Python that has pip 26 or newer",
        )
    return ProjectError(f"pip failed:\n{done.output.strip()[-4000:]}")


def _url_here(url: str, order: _Order) -> str:
    """An address of the store that made the lock, on the store that was named; any other as it is."""
    for file in order.lock.files:
        base, packages, rest = file.url.rpartition("/packages/")
        if packages and file.sha256 in rest and url.startswith(f"{base}/"):
            return order.store_url + url.removeprefix(base)
    return url


def _installed(folder: Path) -> dict[str, str]:
    """Version by normalized name, as the folders of metadata say it; no interpreter is started for it."""
    found = {}
    for path in folder.glob("lib/*/site-packages/*.dist-info"):
        name, _, version = path.name.removesuffix(".dist-info").partition("-")
        found[re.sub(r"[-_.]+", "-", name).lower()] = version  # PEP 503
    return found


def _compare(folder: Path, lock: Lock) -> None:
    """Raise ProjectError unless exactly the packages of the lock are installed."""
    there = _installed(folder)
    wanted = {file.project: file.version for file in lock.files}
    wrong = [
        f"{name} is {there.get(name, 'missing')}, not {version or 'installed'}"
        for name, version in wanted.items()
        if name not in there or (version is not None and not _are_equal(version, there[name]))
    ]
    wrong += [f"{name} {there[name]} is there too" for name in sorted(there.keys() - wanted.keys())]
    if wrong:
        raise ProjectError(f"the environment is not what the lock says: {'; '.join(wrong)}")


def _are_equal(version: str, other: str) -> bool:
    if version == other:
        return True
    from packaging.version import InvalidVersion, Version

    with suppress(InvalidVersion):
        return Version(version) == Version(other.replace("_", "-"))
    return False

"""Restores the environment of a release as it was tested: the lock from the store, and uv or plain pip.

1. the lock, and a Python of exactly its version, with which all of its files fit
2. an empty environment, marked as unfinished
3. exactly the files that the lock names, by digest, from the store that was named
4. the comparison: what is installed is what the lock says; the lock is kept in the environment

Credentials go into a file that only this user can read, outside of the environment, for the time of the
installation.
"""

from __future__ import annotations

import json
import netrc
import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from packaging.utils import canonicalize_name

from conveyor.domain.releases.locks import read_lock
from conveyor.errors import Conflict, MissingTool, ProjectError
from conveyor.project.environment import PYLOCK, Environment, make_environment, run_in
from conveyor.project.foreign import Sight, clean_environment_variables, run_foreign
from conveyor.project.interpreters import interpreters, running_interpreter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from conveyor.client.store import StoreClient
    from conveyor.domain.releases.locks import Lock, LockedFile
    from conveyor.project.interpreters import Interpreter

Tool = Literal["uv", "pip"]
UNFINISHED = ".unfinished-restore"
INSTALL_SECONDS = 3600.0
_SEEDS = ("pip", "setuptools", "wheel")
"""What ``python -m venv`` puts into an environment, depending on its version."""
_LISTING = """\
import importlib.metadata, json
found = importlib.metadata.distributions()
print(json.dumps([[one.metadata["Name"], one.version] for one in found]))
"""


@dataclass(frozen=True)
class Restored:
    """An environment that is as the lock says."""

    folder: Path
    python: str
    packages: int


def restore_release(
    client: StoreClient,
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
        client: the store; the files come from it too, whatever address the lock names.
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
    content = client.releases.lock(project, version, python=python, index=index)
    lock = read_lock(content)
    interpreter = find_interpreter(lock, is_other_patch_allowed=is_other_patch_allowed)
    _refuse_unfitting(lock, interpreter)
    # 2. an environment
    _prepare(folder)
    try:
        with _secrets(client.url, token) as secrets:
            # 3. its files
            order = _Order(
                folder, interpreter, lock, client.url, secrets | _index(client.url, index), on_line
            )
            if tool == "uv":
                _by_uv(order, content)
            else:
                _by_pip(order)
        # 4. the comparison
        _compare(folder, lock)
        (folder / PYLOCK).write_bytes(content)
        (folder / UNFINISHED).unlink(missing_ok=True)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Restored(folder, interpreter.name, len(lock.files))


def find_interpreter(lock: Lock, *, is_other_patch_allowed: bool = False) -> Interpreter:
    """The interpreter of this machine that a lock was made with.

    Raises:
        MissingTool: there is none; the message names those that were looked at.
    """
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
    alike = [name for name in found if _minor(name) == _minor(wanted)]
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


def _minor(name: str) -> str:
    return ".".join(name.split(".")[:2])


def _refuse_unfitting(lock: Lock, interpreter: Interpreter) -> None:
    """Raise ProjectError when wheels of the lock are for another platform."""
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
    with suppress(OSError, netrc.NetrcParseError):
        found = netrc.netrc(path).authenticators(urlsplit(store_url).hostname or "")
        if found is not None and found[0] == "__token__":
            return found[2]
    return None


def _index(store_url: str, index: str | None) -> dict[str, str]:
    """Where requirements to build an sdist come from."""
    url = f"{store_url}/{index or 'stable'}/simple/"
    return {"UV_DEFAULT_INDEX": url, "PIP_INDEX_URL": url}


@dataclass(frozen=True)
class _Order:
    """What is to be installed, and where."""

    folder: Path
    interpreter: Interpreter
    lock: Lock
    store_url: str
    variables: Mapping[str, str]
    on_line: Callable[[str], None] | None


def _by_uv(order: _Order, content: bytes) -> None:
    folder = order.folder
    (folder / UNFINISHED).unlink()
    environment = make_environment(folder, python=str(order.interpreter.path))
    (folder / UNFINISHED).touch()
    text = content.decode()
    for file in order.lock.files:
        text = text.replace(json.dumps(file.url), json.dumps(_url_here(file, order.store_url)))
    with tempfile.TemporaryDirectory(prefix="conveyor-restore-") as scratch:
        path = Path(scratch) / PYLOCK
        path.write_text(text, encoding="utf-8")
        environment.install_lock(
            path,
            may_link=True,  # nothing here changes installed files
            variables=order.variables,
            on_line=order.on_line,
            timeout_seconds=INSTALL_SECONDS,
        )


def _by_pip(order: _Order) -> None:
    """Any pip installs requirements with hashes; only the newest ones read a lock."""
    environment = Environment(order.folder.absolute())
    python = order.interpreter.path
    sight = Sight(
        clean_environment_variables() | dict(order.variables), reads=(python,), writes=(order.folder,)
    )
    made = run_foreign([str(python), "-I", "-m", "venv", str(environment.path)], sight, on_line=order.on_line)
    if made.return_code:
        raise MissingTool(
            f"{python} cannot make an environment with pip: {made.output.strip()[-500:]}",
            hint="install its venv module (python3-venv), or use --tool uv",
        )
    lines = [
        f"{one.project} @ {_url_here(one, order.store_url)} --hash=sha256:{one.sha256}"
        for one in order.lock.files
    ]
    with tempfile.TemporaryDirectory(prefix="conveyor-restore-") as scratch:
        path = Path(scratch) / "requirements.txt"
        path.write_text("\n".join([*lines, ""]), encoding="utf-8")
        words = ["install", "--no-input", "--no-deps", "--require-hashes", "--requirement", str(path)]
        _pip(environment, words, order)
    there, locked = set(_installed(environment)), {one.project for one in order.lock.files}
    seeds = [name for name in _SEEDS if name in there - locked]
    if seeds:
        _pip(environment, ["uninstall", "--yes", *seeds], order)


def _pip(environment: Environment, words: list[str], order: _Order) -> None:
    done = run_in(
        environment,
        ["python", "-I", "-m", "pip", *words],
        variables=order.variables,
        writes=(environment.path,),
        on_line=order.on_line,
        timeout_seconds=INSTALL_SECONDS,
    )
    if done.return_code:
        raise ProjectError(f"pip failed:\n{done.output.strip()[-4000:]}")


def _url_here(file: LockedFile, store_url: str) -> str:
    """The file's address on the store that was named; a file from elsewhere stays there."""
    path = urlsplit(file.url).path
    _, packages, rest = path.rpartition("/packages/")
    return f"{store_url}{packages}{rest}" if packages and file.sha256 in rest else file.url


def _installed(environment: Environment) -> dict[str, str]:
    done = run_in(environment, ["python", "-I", "-c", _LISTING])
    try:
        listed = json.loads(done.output.strip().splitlines()[-1])
    except (ValueError, IndexError) as error:
        raise ProjectError(f"the environment does not run: {done.output.strip()[-500:]}") from error
    return {canonicalize_name(name): version for name, version in listed}


def _compare(folder: Path, lock: Lock) -> None:
    """Raise ProjectError unless exactly the packages of the lock are installed."""
    there = _installed(Environment(folder.absolute()))
    wanted = {file.project: file.version for file in lock.files}
    wrong = [
        f"{name} is {there.get(name, 'missing')}, not {version or 'installed'}"
        for name, version in wanted.items()
        if name not in there or version not in (None, there[name])
    ]
    wrong += [f"{name} {there[name]} is there too" for name in sorted(there.keys() - wanted.keys())]
    if wrong:
        raise ProjectError(f"the environment is not what the lock says: {'; '.join(wrong)}")

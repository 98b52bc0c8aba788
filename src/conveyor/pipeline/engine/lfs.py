"""Files of Git LFS, fetched by the keeper: a clone then holds what its pointers name, checked by digest.

The keeper speaks the batch API itself, because ``git-lfs`` would follow the commit's own ``.lfsconfig`` and
whatever address a server names, with the rights of the worker's user. Here the rules are those of the
repository (``remotes``): its own server is asked, with its own credentials; of what that server names, a
public address over https is followed, or any if the repository is registered as a local one; no redirect is.
A folder of this machine is read as it lies.

Git sees a clone with these files as unchanged: its filter makes the pointers again. Files that cannot be had
stay pointers, with a note; the contract of the archives refuses to ship them.

Sources: the specification, ``batch`` and ``server-discovery`` of Git LFS (its ``docs/``), version 1 of each.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import ssl
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import HTTPError
from urllib3.util import Timeout

from conveyor.domain.runs.repositories import canonical_url, is_path, origin_of, scheme_of
from conveyor.errors import ConveyorError, Forbidden, ProjectError
from conveyor.pipeline.engine.keyring import find_credentials
from conveyor.pipeline.engine.remotes import authorization, public_addresses, remote
from conveyor.project.archives import sha256_of_file
from conveyor.project.downloads import pinned
from conveyor.project.git import local_path, run_git, tracked_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from conveyor.domain.runs.repositories import Reach

MEDIA_TYPE = "application/vnd.git-lfs+json"
MOST_BYTES = 32 * 2**30
"""Of all files of one clone together."""
AT_A_TIME = 100
"""Objects that one request asks for; servers take at least as many."""
_LONGEST_POINTER = 1024
_LONGEST_ANSWER = 16 * 2**20
_CHUNK_BYTES = 2**20
_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n(?:ext-[^\n]*\n)*"
    rb"oid sha256:([0-9a-f]{64})\nsize ([0-9]{1,15})\n"
)
FILTER = "conveyor-lfs"
_CLEAN = """\
f=$(mktemp) && cat >"$f"
if head -c 42 "$f" | grep -aqx "version https://git-lfs.github.com/spec/v1"; then cat "$f"
else
  printf "version https://git-lfs.github.com/spec/v1\\noid sha256:%s\\nsize %s\\n" \
    "$(sha256sum <"$f" | cut -d" " -f1)" "$(wc -c <"$f" | tr -d " ")"
fi
rm -f "$f"
"""
"""What git runs to compare such a file with its commit, also in jails; a pointer stays as it is."""


@dataclass(frozen=True)
class Pointer:
    """What the commit holds in place of a file."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Server:
    """Where the objects of a repository are asked for."""

    url: str
    headers: Mapping[str, str]
    """Those of every question; they hold the credentials."""
    is_local: bool
    """Whether addresses that are not public may be followed."""


def bring_lfs(clone: Path, repository: str, reach: Reach, keyring: Path | None) -> list[str]:
    """Put the files of Git LFS into a fresh clone; returns a note about each that stays a pointer.

    Args:
        clone: the clone, as git made it.
        repository: where it was cloned from, a path or a URL.
        reach: what may be read.
        keyring: the folder of the credentials; ``None`` if the worker has none.
    """
    wanted = pointers_of(clone)
    if not wanted:
        return []
    with tempfile.TemporaryDirectory(prefix="lfs-", dir=clone / ".git") as folder:
        try:
            if sum({one.sha256: one.size for one in wanted.values()}.values()) > MOST_BYTES:
                raise ProjectError(f"they are larger than {MOST_BYTES // 2**30} GB together")
            missing = _fetch(set(wanted.values()), repository, reach, keyring, Path(folder))
        except ConveyorError as error:
            return [f"{path}: {error.message}" for path in sorted(wanted)]
        there = {path: one for path, one in wanted.items() if one not in missing}
        _have_git_compare(clone, there)
        for path, pointer in there.items():
            _put(Path(folder, pointer.sha256), clone / path)
    if there:  # git has noted the sizes of the pointers, and takes another size for a change
        run_git(["update-index", "--", *there], folder=clone)
    return [f"{path}: {missing[one]}" for path, one in sorted(wanted.items()) if one in missing]


def pointers_of(clone: Path) -> dict[str, Pointer]:
    """The files of a clone that are pointers, by path: their attributes say ``filter=lfs``."""
    found = {}
    for path in tracked_files(clone):
        file = clone / path
        if file.is_symlink() or not file.is_file() or file.stat().st_size > _LONGEST_POINTER:
            continue
        if (said := _POINTER.fullmatch(file.read_bytes())) is not None:
            found[path] = Pointer(said[1].decode(), int(said[2]))
    if not found:
        return {}
    asked = ["check-attr", "-z", "filter", "--", *found]
    words = run_git(asked, folder=clone).decode(errors="surrogateescape").split("\0")
    named = zip(words[::3], words[2::3], strict=False)
    return {path: found[path] for path, value in named if value == "lfs" and "\n" not in path}


def _fetch(
    wanted: set[Pointer], repository: str, reach: Reach, keyring: Path | None, into: Path
) -> dict[Pointer, str]:
    """Fetch objects into a folder, each under its digest; returns why some are missing."""
    here = local_path(repository) if is_path(repository) else None
    if here is not None:
        reach.allows_local(repository)
        return _copy(wanted, here, into)
    server = _server_of(repository, reach, keyring)
    missing: dict[Pointer, str] = {}
    ordered = sorted(wanted, key=lambda one: one.sha256)
    for first in range(0, len(ordered), AT_A_TIME):
        batch = ordered[first : first + AT_A_TIME]
        answers = _ask(server, batch)
        for one in batch:
            try:
                _download(server, answers.get(one.sha256, {}), one, into / one.sha256)
            except (ProjectError, Forbidden) as error:
                missing[one] = error.message
    return missing


def _copy(wanted: set[Pointer], repository: Path, into: Path) -> dict[Pointer, str]:
    missing = {}
    common = run_git(["rev-parse", "--git-common-dir"], folder=repository).decode().strip()
    for one in wanted:
        source = Path(repository, common, "lfs/objects", one.sha256[:2], one.sha256[2:4], one.sha256)
        if not source.is_file():
            missing[one] = f"{repository} does not have it: git lfs fetch --all, there"
            continue
        shutil.copyfile(source, into / one.sha256)
        if sha256_of_file(into / one.sha256) != one.sha256:
            missing[one] = f"{repository} has other bytes under its digest"
    return missing


def _server_of(repository: str, reach: Reach, keyring: Path | None) -> Server:
    """The server of a repository: below its URL over http, as its host says over ssh.

    Raises:
        Forbidden, InvalidInput, ProjectError: as ``remotes.remote``; or the host does not say.
    """
    told = remote(repository, reach, keyring)
    is_local = reach.allows_local(repository)
    if scheme_of(repository) == "ssh":
        return _told_over_ssh(repository, told.variables, is_local=is_local)
    url = canonical_url(repository)
    held = find_credentials(keyring, url) if keyring is not None else None
    headers = {}
    if held is not None and held.token is not None:
        name, _, value = authorization(held).partition(": ")
        headers[name] = value
    return Server(f"{url.removesuffix('.git')}.git/info/lfs", headers, is_local)


def _told_over_ssh(repository: str, variables: Mapping[str, str], *, is_local: bool) -> Server:
    if "://" in repository:
        parts = urlsplit(repository)
        place = f"{parts.username}@{parts.hostname}" if parts.username else str(parts.hostname)
        path = parts.path
        port = ["-p", str(parts.port)] if parts.port else []
    else:
        place, _, path = repository.partition(":")
        port = []
    command = [*shlex.split(variables["GIT_SSH_COMMAND"]), *port, "--", place]
    try:
        done = subprocess.run(
            [*command, f"git-lfs-authenticate {shlex.quote(path)} download"],
            capture_output=True, stdin=subprocess.DEVNULL, timeout=120, env=os.environ | variables,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise ProjectError(f"the host of {repository} does not answer within 120 s") from error
    try:
        said = json.loads(done.stdout[:_LONGEST_ANSWER])
        return Server(str(said["href"]).rstrip("/"), _texts(said.get("header")), is_local)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProjectError(f"the host of {repository} does not say where its files of Git LFS are") from error


def _ask(server: Server, batch: Sequence[Pointer]) -> dict[str, dict[str, Any]]:
    """What the batch API says of objects, by digest."""
    asked = {
        "operation": "download", "transfers": ["basic"], "hash_algo": "sha256",
        "objects": [{"oid": one.sha256, "size": one.size} for one in batch],
    }  # fmt: skip
    headers = {"Accept": MEDIA_TYPE, "Content-Type": MEDIA_TYPE, **server.headers}
    body = json.dumps(asked).encode()
    with _opened(server, f"{server.url}/objects/batch", "POST", headers, body) as answer:
        if answer.status != 200:
            raise ProjectError(
                f"{server.url} answers {answer.status} to a question for files of Git LFS",
                hint="give the worker credentials: conveyor pipeline credentials add URL --token-file FILE"
                if answer.status in (401, 403)
                else None,
            )
        content = _read(answer, _LONGEST_ANSWER)
    try:
        return {str(one["oid"]): dict(one) for one in json.loads(content)["objects"]}
    except (ValueError, KeyError, TypeError) as error:
        raise ProjectError(f"{server.url} answers what is not the batch API of Git LFS") from error


def _download(server: Server, told: Mapping[str, Any], wanted: Pointer, target: Path) -> None:
    """Fetch one object from where the server says; raises ProjectError unless it is the wanted one."""
    try:
        if "error" in told:
            raise ProjectError(f"the server says: {str(told['error'].get('message'))[:200]}")
        action = told["actions"]["download"]
        url, headers = str(action["href"]), _texts(action.get("header"))
    except (KeyError, TypeError, AttributeError) as error:
        raise ProjectError("the server does not say where it is") from error
    if not any(name.lower() == "authorization" for name in headers) and url.startswith(f"{server.url}/"):
        headers = {**server.headers, **headers}
    found, size = hashlib.sha256(), 0
    with _opened(server, url, "GET", headers) as answer, target.open("wb") as file:
        if answer.status != 200:
            raise ProjectError(f"{urlsplit(url).hostname} answers {answer.status}")
        while (piece := _read(answer, _CHUNK_BYTES)) and size <= wanted.size:
            file.write(piece)
            found.update(piece)
            size += len(piece)
    if (found.hexdigest(), size) != (wanted.sha256, wanted.size):
        target.unlink()
        raise ProjectError("the server gives other bytes than the commit names")


def _read(answer: urllib3.BaseHTTPResponse, most: int) -> bytes:
    try:
        return answer.read(most)
    except HTTPError as error:
        raise ProjectError(f"the answer ended before its end: {error}") from error


def _opened(
    server: Server, url: str, method: str, headers: Mapping[str, str], body: bytes | None = None
) -> urllib3.BaseHTTPResponse:
    """An answer of a server, at an address that was judged; to be closed.

    Raises:
        Forbidden, ProjectError: it may not be asked, or does not answer.
    """
    scheme, host, _ = origin_of(url)
    if scheme != "https" and not (server.is_local and scheme == "http"):
        raise ProjectError(f"{host} is not asked by {scheme}: files of Git LFS are fetched over https")
    timeout, trust = Timeout(connect=20.0, read=120.0), _trust()
    proxy = getproxies().get(scheme)
    pool: urllib3.PoolManager | urllib3.HTTPSConnectionPool
    if proxy is not None and not proxy_bypass(host):
        pool, target = urllib3.ProxyManager(proxy, timeout=timeout, ssl_context=trust), url
    else:
        addresses = () if server.is_local else public_addresses(url)
        pool, target, named = pinned(url, addresses, timeout=timeout, ssl_context=trust)
        headers = {**headers, **named}
    try:
        return pool.request(
            method, target, body=body, headers=dict(headers), preload_content=False, redirect=False,
            retries=False, decode_content=False,
        )  # fmt: skip
    except HTTPError as error:
        raise ProjectError(f"{host} cannot be asked for files of Git LFS: {error}") from error


def _trust() -> ssl.SSLContext:
    """What git trusts on this machine: the system's authorities, and the file that a variable names."""
    context = ssl.create_default_context()
    named = os.environ.get("GIT_SSL_CAINFO")
    if named:
        context.load_verify_locations(named)
    return context


def _texts(headers: object) -> dict[str, str]:
    """Headers that a server wants to be sent; a name or value of another form is left out."""
    if not isinstance(headers, dict):
        return {}
    return {
        name: value
        for name, value in headers.items()
        if isinstance(value, str) and re.fullmatch(r"[\w-]{1,100}", name) and value.isprintable()
    }


def _have_git_compare(clone: Path, paths: Iterable[str]) -> None:
    """Give paths a filter of our own: that of the name ``lfs`` is git-lfs where the user has it."""
    run_git(["config", f"filter.{FILTER}.clean", _CLEAN], folder=clone)
    lines = []
    for path in paths:
        literal = re.sub(r"([*?\[\\])", r"\\\1", path)
        quoted = literal.replace("\\", "\\\\").replace('"', '\\"')
        lines.append(f'"/{quoted}" filter={FILTER}\n')
    with (clone / ".git" / "info" / "attributes").open(
        "a", encoding="utf-8", errors="surrogateescape"
    ) as file:
        file.writelines(lines)


def _put(source: Path, target: Path) -> None:
    """The file in the place of its pointer, with the pointer's rights."""
    mode = target.stat().st_mode
    copy = target.with_name(f".{target.name}.lfs")
    shutil.copyfile(source, copy)
    copy.chmod(mode & 0o777)
    copy.replace(target)

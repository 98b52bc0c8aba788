"""The worker's credentials of private repositories: one deploy key or token for each, in its state folder.

``repositories/DIGEST/`` holds the URL that they are for and the secret, mode 0600 in folders of mode 0700,
owned by the worker's user; where that is not so, they are refused rather than used. They never leave this
folder but in the environment of the keeper's own git (``remotes``): no jail shows it, and the store has none.

``status-accounts/DIGEST/`` holds, in the same way, the token by which a git host is told how runs of a
repository stand (``carrying.statuses``); it need not be allowed to read the repository.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, cast
from urllib.parse import urlsplit

from conveyor.domain.runs.repositories import canonical_url, check_repository, is_path, origin_of, scheme_of
from conveyor.domain.words.addresses import address_kind, literal_address
from conveyor.errors import Conflict, InvalidInput, NotFound, StorageFailed

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = "repositories"
LONGEST = 64 * 1024
"""Bytes of a key, a token or a list of host keys."""


@dataclass(frozen=True)
class RepositoryCredentials:
    """The credentials of one repository: a private SSH key, or a token for https."""

    url: str
    key: Path | None = None
    """The file of the key, which ssh reads itself."""
    known_hosts: Path | None = None
    """The keys that the host may have; ``None``: those that the worker's user knows."""
    user: str = "git"
    """The name that goes with a token; most hosts ignore it."""
    token: str | None = field(default=None, repr=False)


StatusHost = Literal["gitlab", "github", "gitea"]


@dataclass(frozen=True)
class StatusAccount:
    """By which API, and with which token, a git host is told how runs of a repository stand."""

    url: str
    host: StatusHost
    api: str
    """Without a slash at its end."""
    token: str = field(repr=False)


def usual_api(url: str, host: StatusHost) -> str:
    """Where a git host has its API, by the URL of one of its repositories."""
    _, name, port = origin_of(url)
    place = f"https://{name}" + (f":{port}" if port and scheme_of(url) != "ssh" else "")
    if host == "github":
        return "https://api.github.com" if name == "github.com" else f"{place}/api/v3"
    return f"{place}/api/{'v4' if host == 'gitlab' else 'v1'}"


def add_status_account(
    keyring: Path, url: str, *, host: StatusHost, token_file: Path, api: str | None = None
) -> StatusAccount:
    """Keep a copy of the token by which a host is told how runs of a repository stand.

    Raises:
        InvalidInput: the URL is not one of a repository on a host, the API is not at an https URL, or the
        file
            is not the worker's alone or holds no token; names every fault.
        Conflict: there is one for this repository already.
        StorageFailed: the folder cannot be written.
    """
    url = canonical_url(url)
    check_repository(url, is_local=True)
    faults, token = [], b""
    if is_path(url):
        faults.append("a folder has no host that could be told")
    place = (api or ("" if is_path(url) else usual_api(url, host))).rstrip("/")
    if place and not _is_api(place):
        faults.append(f"{place[:200]} is not an https URL, and a token is sent there")
    try:
        token = _given(token_file, is_secret=True).strip()
        if not token or not token.isascii() or len(token.split()) != 1:
            faults.append(f"{token_file} does not hold a token alone")
    except InvalidInput as error:
        faults.append(error.message)
    if faults:
        raise InvalidInput(
            f"the account for {url} cannot be kept: {faults[0]}",
            faults=faults,
            hint="name the repository by its URL, and a file of mode 0600: "
            "conveyor pipeline credentials status URL --host HOST --token-file FILE",
        )
    contents = {"url": url.encode(), "host": host.encode(), "api": place.encode(), "token": token}
    _write(_accounts(keyring) / _name_of(url), contents)
    return StatusAccount(url, host, place, token.decode())


def list_status_accounts(keyring: Path) -> list[StatusAccount]:
    """What there is, by URL; raises InvalidInput as ``find_status_account``."""
    folder = _accounts(keyring)
    names = [one.name for one in folder.iterdir() if not one.name.startswith(".")] if folder.is_dir() else []
    found = [_read_account(folder / name) for name in names]
    return sorted(found, key=lambda one: one.url)


def has_status_accounts(keyring: Path) -> bool:
    """Whether any host is told how runs stand."""
    folder = _accounts(keyring)
    return folder.is_dir() and any(folder.iterdir())


def find_status_account(keyring: Path, url: str) -> StatusAccount | None:
    """The account for a repository; ``None`` if its host is told nothing.

    Raises:
        InvalidInput: it lies open to other users, or belongs to another one; names every fault.
    """
    folder = _accounts(keyring) / _name_of(canonical_url(url))
    return _read_account(folder) if folder.is_dir() else None


def remove_status_account(keyring: Path, url: str) -> None:
    """Tell the host of a repository nothing any more; raises NotFound if it is told nothing."""
    folder = _accounts(keyring) / _name_of(canonical_url(url))
    if not folder.is_dir():
        raise NotFound(
            f"the host of {url[:200]} is told nothing", hint="see conveyor pipeline credentials list"
        )
    shutil.rmtree(folder)


def _read_account(folder: Path) -> StatusAccount:
    files = {name: folder / name for name in ("url", "host", "api", "token")}
    faults = [
        fault
        for path in (folder.parent, folder, *files.values())
        if (fault := _lies_open(path.lstat(), path))
    ]
    if faults:
        raise InvalidInput(
            f"the account in {folder} is not used: {faults[0]}",
            faults=faults,
            hint="chown and chmod it (folders 0700, files 0600), or make it anew",
        )
    url, host, api, token = (path.read_text(encoding="utf-8").strip() for path in files.values())
    return StatusAccount(url, cast("StatusHost", host), api, token)


def _is_api(url: str) -> bool:
    """Whether a token may be sent there: over TLS, or to this machine."""
    try:
        parts = urlsplit(url)
        address = literal_address(parts.hostname or "")
    except ValueError:
        return False
    is_here = parts.hostname == "localhost" or (address is not None and address_kind(address) == "loopback")
    is_plain = not (parts.query or parts.fragment or "@" in parts.netloc) and url.isprintable()
    return (
        bool(parts.hostname)
        and is_plain
        and (parts.scheme == "https" or (parts.scheme == "http" and is_here))
    )


def folders_of_secrets(state: Path) -> tuple[Path, ...]:
    """The folders of a worker's state that hold credentials, which no jail shows."""
    return state / FOLDER, _accounts(state / FOLDER)


def _accounts(keyring: Path) -> Path:
    return keyring.with_name("status-accounts")


def add_credentials(
    keyring: Path,
    url: str,
    *,
    key: Path | None = None,
    known_hosts: Path | None = None,
    token_file: Path | None = None,
    user: str = "git",
) -> None:
    """Keep a copy of a deploy key or of a token; exactly one of the two is given.

    Raises:
        InvalidInput: the URL is not one of a repository, its protocol takes other credentials, the file
            cannot be read, can be read by others, or holds no such thing; names every fault.
        Conflict: there are credentials of this repository already.
        StorageFailed: the folder cannot be written.
    """
    url = canonical_url(url)
    check_repository(url, is_local=True)
    scheme = scheme_of(url)
    faults = []
    if (key is None) == (token_file is None):
        faults.append("name either a key or the file of a token")
    if key is not None and scheme != "ssh":
        faults.append(f"a key is for ssh, and this repository is read by {scheme}")
    if token_file is not None and scheme not in ("https", "http"):
        faults.append(f"a token is for https, and this repository is read by {scheme}")
    if known_hosts is not None and key is None:
        faults.append("known hosts belong to a key")
    if not user.isprintable() or ":" in user or not user:
        faults.append("the user is not one that a host could have")
    files = {"key": key, "token": token_file, "known_hosts": known_hosts}
    contents: dict[str, bytes] = {}
    for name, path in files.items():
        if path is not None:
            try:
                contents[name] = _given(path, is_secret=name != "known_hosts")
            except InvalidInput as error:
                faults.append(error.message)
    if b"PRIVATE KEY-----" not in contents.get("key", b"PRIVATE KEY-----"):
        faults.append(f"{key} is not a private SSH key")
    token = contents.get("token", b"x").strip()
    if not token or not token.isascii() or len(token.split()) != 1:
        faults.append(f"{token_file} does not hold a token alone")
    if faults:
        raise InvalidInput(
            f"the credentials of {url} cannot be kept: {faults[0]}",
            faults=faults,
            hint="a token, or a key for ssh (--key FILE), in a file of mode 0600: "
            "conveyor pipeline credentials add URL --token-file FILE",
        )
    _write(keyring / _name_of(url), {"url": url.encode(), "user": user.encode(), **contents})


def list_credentials(keyring: Path) -> list[RepositoryCredentials]:
    """What there is, by URL; secrets are read but never shown."""
    if not keyring.is_dir():
        return []
    urls = [(folder / "url").read_text(encoding="utf-8") for folder in keyring.iterdir() if folder.is_dir()]
    return [one for url in sorted(urls) if (one := find_credentials(keyring, url)) is not None]


def remove_credentials(keyring: Path, url: str) -> None:
    """Forget the credentials of a repository; raises NotFound if there are none."""
    folder = keyring / _name_of(canonical_url(url))
    if not folder.is_dir():
        raise NotFound(
            f"there are no credentials of {url[:200]}", hint="see conveyor pipeline credentials list"
        )
    shutil.rmtree(folder)


def find_credentials(keyring: Path, url: str) -> RepositoryCredentials | None:
    """The credentials of a repository; ``None`` if there are none.

    Raises:
        InvalidInput: they lie open to other users, or belong to another one; names every fault.
    """
    folder = keyring / _name_of(url)
    if not folder.is_dir():
        return None
    files = {name: folder / name for name in ("key", "token", "known_hosts", "user")}
    there = {name: path for name, path in files.items() if path.exists()}
    faults = [
        fault for path in (keyring, folder, *there.values()) if (fault := _lies_open(path.lstat(), path))
    ]
    if not {"key", "token"} & set(there):
        faults.append(f"{folder} holds neither a key nor a token")
    if faults:
        raise InvalidInput(
            f"the credentials of {url} are not used: {faults[0]}",
            faults=faults,
            hint=f"chown and chmod them (folders 0700, files 0600), or make them anew below {keyring}",
        )
    token = there["token"].read_text(encoding="ascii").strip() if "token" in there else None
    return RepositoryCredentials(
        url, there.get("key"), there.get("known_hosts"), files["user"].read_text(encoding="utf-8"), token
    )


def _lies_open(status: os.stat_result, path: Path) -> str | None:
    """The fault of a secret's file or folder; ``None`` if it is this user's alone."""
    if status.st_uid != os.geteuid():
        return f"{path} belongs to user {status.st_uid}, not to {os.geteuid()}, as which the worker runs"
    if stat.S_ISLNK(status.st_mode):
        return f"{path} is a link"
    if status.st_mode & 0o077:
        return f"{path} has mode {status.st_mode & 0o777:04o}, so others may use it"
    return None


def _given(path: Path, *, is_secret: bool) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            fault = _lies_open(status, path) if is_secret else None
            content = file.read(LONGEST + 1)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error
    if fault is not None:
        raise InvalidInput(fault)
    if not content or len(content) > LONGEST:
        raise InvalidInput(f"{path} is empty, or too long for what it should hold")
    return content


def _write(folder: Path, contents: dict[str, bytes]) -> None:
    """Write all files of one repository, or none: they are put in place by one rename."""
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.parent.chmod(0o700)
        temporary.mkdir(mode=0o700)
        for name, content in contents.items():
            descriptor = os.open(temporary / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(descriptor)
        if folder.exists():
            raise Conflict(
                f"there are credentials of {contents['url'].decode()} already",
                hint="remove them first: conveyor pipeline credentials remove URL",
            )
        temporary.rename(folder)
    except OSError as error:
        raise StorageFailed(f"{folder} cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _name_of(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:32]

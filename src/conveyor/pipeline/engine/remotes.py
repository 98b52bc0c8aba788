"""How the keeper reaches repositories: by which protocol, at which address, and with which credentials.

Only the keeper's own git gets any of this, in its environment, for one repository at a time:

- ``GIT_ALLOW_PROTOCOL`` names the one protocol of that repository, so neither a redirect nor a setting of the
  user changes it, and no helper program (``ext::``) runs;
- a public repository is looked up once, refused if any of its addresses is not public, and git is pinned to
  these addresses; behind a proxy, which looks names up itself, only literal addresses are checked (as for an
  upstream, decision 0009);
- over https no redirect is followed: it could lead credentials, or the keeper, somewhere else;
- the credentials of ``keyring`` are used for that repository alone. Without any, git uses those of the
  worker's user: an SSH agent, a credential helper.
"""

from __future__ import annotations

import base64
import os
import shlex
import socket
from typing import TYPE_CHECKING
from urllib.request import getproxies, proxy_bypass

from conveyor.domain.runs.repositories import canonical_url, check_protocol, is_path, origin_of
from conveyor.domain.words.addresses import address_kind
from conveyor.errors import Forbidden, ProjectError
from conveyor.pipeline.engine.keyring import find_credentials
from conveyor.project.git import Remote
from conveyor.settings import JOB_GRANTS

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from conveyor.domain.runs.repositories import Reach
    from conveyor.pipeline.engine.keyring import RepositoryCredentials

PORTS = {"https": 443, "http": 80, "ssh": 22}
NOBODY = {"HOME": "/nonexistent", "XDG_CONFIG_HOME": "/nonexistent", "SSH_AUTH_SOCK": "", "GIT_ASKPASS": ""}
"""Variables under which git finds no credentials of the worker's user."""


def remote(repository: str, reach: Reach, keyring: Path | None) -> Remote:
    """The repository as the keeper's git may reach it.

    Args:
        repository: a path or a URL.
        reach: what may be read.
        keyring: the folder of the credentials; ``None`` if the worker has none.

    Raises:
        Forbidden: it is not registered for this project, or its name leads to a private address.
        InvalidInput: it is to be read by a protocol that is not allowed, or its credentials lie open.
        ProjectError: its name cannot be looked up.
    """
    is_local = reach.allows_local(repository)
    scheme = check_protocol(repository, is_local=is_local)
    variables = {"GIT_ALLOW_PROTOCOL": scheme}
    if is_path(repository):
        return Remote(repository, variables)
    held = find_credentials(keyring, canonical_url(repository)) if keyring is not None else None
    addresses = () if is_local else public_addresses(repository)
    if scheme == "ssh":
        return Remote(repository, variables | _over_ssh(repository, addresses, held))
    return Remote(repository, variables | _over_http(repository, addresses, held))


def public_remote(repository: str) -> Remote:
    """A repository that is read without any credentials, over https alone, at a public address.

    Raises:
        Forbidden, InvalidInput, ProjectError: as ``remote``.
    """
    scheme = check_protocol(repository, is_local=False)
    if scheme != "https":
        raise Forbidden(
            f"{repository[:200]} is not registered, so it is read without credentials, and not by {scheme}",
            hint="name it by https, or ask an administrator to register it for this project",
        )
    told = _over_http(repository, public_addresses(repository), None)
    return Remote(repository, {"GIT_ALLOW_PROTOCOL": scheme, **told, **NOBODY})


def submodule(url: str, superproject: str, reach: Reach, keyring: Path | None) -> Remote:
    """The repository of a submodule: a registered one, or a public one on the host of its superproject.

    The latter is read without any credentials: those of the host may be for other projects.

    Raises:
        Forbidden, InvalidInput, ProjectError: it is neither.
    """
    if canonical_url(url) in reach.registered:
        return remote(url, reach, keyring)
    if is_path(url) or origin_of(url) != origin_of(superproject):
        raise Forbidden(
            f"{url[:200]} is not registered for this project",
            hint="an administrator registers it, as the repository itself: conveyor store repository list",
        )
    return public_remote(url)


def addresses_of_data(url: str, hosts: Collection[str]) -> tuple[str, ...]:
    """The addresses at which declared data may be asked for; none for a server that the operator named.

    Args:
        url: over https.
        hosts: the ``HOST`` or ``HOST:PORT`` of servers that need not be public.

    Raises:
        Forbidden: some are not public.
        ProjectError: the name has none.
    """
    _, host, port = origin_of(url)
    if hosts and {host, f"{host}:{port or PORTS['https']}"} & set(hosts):
        return ()
    return _looked_up(
        url, f"if workers are to fetch data there, their operator names it: {JOB_GRANTS['data_hosts']}={host}"
    )


def public_addresses(repository: str) -> tuple[str, ...]:
    """The addresses of a repository's host, all public; none behind a proxy, which looks the name up itself.

    Raises:
        Forbidden: some are not public.
        ProjectError: the name has none.
    """
    scheme, host, _ = origin_of(repository)
    if scheme in getproxies() and not proxy_bypass(host):
        return ()
    return _looked_up(
        repository, "if a worker is to read it there, an administrator registers it with --local"
    )


def _looked_up(url: str, hint: str) -> tuple[str, ...]:
    scheme, host, port = origin_of(url)
    try:
        found = socket.getaddrinfo(host, port or PORTS[scheme], type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ProjectError(f"{host} cannot be looked up: {error}", hint="is its name right?") from error
    addresses = tuple(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))
    closed = [address for address in addresses if address_kind(address) != "public"]
    if closed:
        raise Forbidden(
            f"{url[:200]} leads to {closed[0]}, a {address_kind(closed[0])} address",
            hint=hint,
        )
    return addresses


def _over_ssh(
    repository: str, addresses: Sequence[str], held: RepositoryCredentials | None
) -> dict[str, str]:
    _, host, port = origin_of(repository)
    words = ["-o", "BatchMode=yes"]
    if addresses:  # the key of the host is that of its name
        name = host if port in (None, 22) else f"[{host}]:{port}"
        words += ["-o", f"HostName={addresses[0]}", "-o", f"HostKeyAlias={name}"]
    if held is None or held.key is None:
        command = os.environ.get("GIT_SSH_COMMAND") or "ssh"
        return {"GIT_SSH_COMMAND": f"{command} {shlex.join(words)}"}
    key = str(held.key).replace("%", "%%")
    words += ["-F", "none", "-i", key, "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"]
    words += ["-o", "StrictHostKeyChecking=yes"]
    if held.known_hosts is not None:
        quoted = '"' + str(held.known_hosts).replace("%", "%%") + '"'
        words += ["-o", f"UserKnownHostsFile={quoted}", "-o", "GlobalKnownHostsFile=none"]
    return {"GIT_SSH_COMMAND": shlex.join(["ssh", *words]), "GIT_SSH_VARIANT": "ssh"}


def _over_http(
    repository: str, addresses: Sequence[str], held: RepositoryCredentials | None
) -> dict[str, str]:
    scheme, host, port = origin_of(repository)
    settings = [("http.followRedirects", "false")]
    if addresses:
        bracketed = [f"[{one}]" if ":" in one else one for one in addresses]
        settings.append(("http.curloptResolve", f"{host}:{port or PORTS[scheme]}:{','.join(bracketed)}"))
    if held is not None and held.token is not None:
        settings += [
            ("credential.helper", ""),
            (f"http.{canonical_url(repository)}.extraHeader", authorization(held)),
        ]
    return with_settings(settings)


def authorization(held: RepositoryCredentials) -> str:
    """The header that carries a token, as git hosts take it: basic authentication."""
    pair = base64.b64encode(f"{held.user}:{held.token}".encode()).decode()
    return f"Authorization: Basic {pair}"


def with_settings(settings: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Variables that give git settings for one call, after those that the environment gives already."""
    first = int(os.environ.get("GIT_CONFIG_COUNT") or 0)
    found = {"GIT_CONFIG_COUNT": str(first + len(settings))}
    for number, (name, value) in enumerate(settings, first):
        found |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    return found

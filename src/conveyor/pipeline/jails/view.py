"""What a jail shows: the arguments of bubblewrap for what its programs may see. Pure but for ``read_host``.

A jail begins empty. It gets the system's programs and libraries, read-only; processes, devices and a loopback
of its own; an empty home and temporary folder; and the folders that a ``Sight`` names, at their own paths,
because compilers and environments write paths into what they make.

Two kinds, by who the worker is:

- *Root*: the jail runs as a user of its own that owns nothing else. A user namespace would not do: root is
  then still the owner of what root owns, ``/proc/sys`` among it, whatever number the jail shows.
- *Anybody else*: a user namespace, in which the worker's number is shown as ``USER``. What keeps the worker's
  files away is that they are not there.

Sources: ``bwrap(1)`` 0.8, ``user_namespaces(7)``, ``setpriv(1)``.
"""

from __future__ import annotations

import errno
import os
import struct
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from conveyor.errors import ProjectError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

USER = 1000
"""The number that a jail in a user namespace shows as its user's."""
HOME = "/job"
DOOR = "/run/store.sock"
"""Where a jail finds the door to the store."""
DOOR_PORT = 47301
"""The port of a jail's loopback that leads to the store; fixed, because caches are kept by address."""
HOSTS = "/run/hosts.sock"
"""Where a jail of a build finds the proxy to the hosts that the policy names."""
HOSTS_PORT = 47302
"""The port of its loopback that leads there."""

_ROOTS = ("/bin", "/lib", "/lib32", "/lib64", "/libx32", "/sbin")
"""Folders that are links into ``/usr`` on merged systems, and folders on others."""
_SETTINGS = (
    "alternatives", "ca-certificates", "ca-certificates.conf", "crypto-policies", "debian_version", "fonts",
    "ImageMagick-6", "java-17-openjdk", "java-21-openjdk", "ld.so.cache", "ld.so.conf", "ld.so.conf.d",
    "localtime", "magic", "mime.types", "nsswitch.conf", "os-release", "pki", "protocols", "R", "services",
    "ssl/cert.pem", "ssl/certs", "ssl/openssl.cnf", "terminfo", "texmf", "timezone",
)  # fmt: skip
"""What programs of the system read below ``/etc``; no secret of the machine is among them."""
SHARED_MEMORY_BYTES = 2**31
IDENTITY = ("group", "hosts", "passwd")
_PROCESSORS = ("/sys/devices/system/cpu", "/sys/devices/system/node")
"""Numeric libraries count processors here."""


@dataclass(frozen=True)
class Host:
    """What a machine has of the places that a jail shows."""

    links: Mapping[str, str] = field(default_factory=dict)
    """Paths at the root that are symbolic links, and where they lead."""
    folders: tuple[str, ...] = ()
    """Paths that exist."""


@lru_cache
def read_host() -> Host:
    """Look at this machine, once for all jails of a process."""
    links = {one: str(Path(one).readlink()) for one in _ROOTS if Path(one).is_symlink()}
    wanted = ("/usr", *_ROOTS, *(f"/etc/{one}" for one in _SETTINGS), *_PROCESSORS)
    return Host(links, tuple(one for one in wanted if one not in links and Path(one).exists()))


@dataclass(frozen=True)
class View:
    """A jail to be opened."""

    reads: tuple[Path, ...]
    """Absolute paths that it shows, read-only."""
    writes: tuple[Path, ...]
    """Absolute paths that it shows and in which its programs may write."""
    temporary: Path
    """The folder that it shows as its temporary one."""
    home: Path
    """The folder that it shows as ``HOME``."""
    identity: Path
    """A folder with the files ``IDENTITY``, which it shows below ``/etc``."""
    door: Path | None = None
    """The socket of the door to the store; ``None``: there is none."""
    hosts: Path | None = None
    """The socket of the proxy to the hosts that the policy names; ``None``: it reaches no host."""
    user: int | None = None
    """The user that it runs as, of a worker that is root; ``None``: a user namespace."""
    shares_proc: bool = False
    """Whether it shows the ``/proc`` of the worker's own container, where none of its own can be mounted."""
    shared_memory_bytes: int = SHARED_MEMORY_BYTES
    """The size of ``/dev/shm``."""


_CALLS = {
    "x86_64": ((0xC000003E, 248, 249, 250), (0x40000003, 286, 287, 288)),
    "aarch64": ((0xC00000B7, 217, 218, 219), (0x40000028, 309, 310, 311)),
}
"""Machine → the ways in which its programs call the kernel: AUDIT_ARCH, add_key, request_key, keyctl."""


def without_keys(machine: str) -> bytes | None:
    """A filter of system calls that refuses the kernel's keys (``keyrings(7)``), as bubblewrap takes it.

    No namespace parts them: what one run's user keeps there the next would find. A program may only leave
    the keyring of its session for an empty one, which the agent does.

    Args:
        machine: as ``uname`` says it.

    Returns:
        A program of struct sock_filter (``seccomp(2)``); ``None`` for a machine that is not known here.
    """
    load, mask, same, answer = 0x20, 0x54, 0x15, 0x06
    number, system, first, second = 0, 4, 16, 24  # where struct seccomp_data has them
    blocks = _CALLS.get(machine)
    if blocks is None:
        return None
    check = 2 + 6 * len(blocks)
    refuse, allow = check + 7, check + 6
    words: list[tuple[int, int, int, int]] = [(load, 0, 0, system)]

    def jump(value: int, *, to: int, otherwise: int) -> None:
        here = len(words) + 1
        words.append((same, to - here, otherwise - here, value))

    for kind, add_key, request_key, keyctl in blocks:
        here = len(words)
        jump(kind, to=here + 1, otherwise=here + 6)
        words += [(load, 0, 0, number), (mask, 0, 0, 0xBFFFFFFF)]  # x32 sets that bit
        jump(add_key, to=refuse, otherwise=here + 4)
        jump(request_key, to=refuse, otherwise=here + 5)
        jump(keyctl, to=check, otherwise=allow)
    words.append((answer, 0, 0, 0x7FFF0000))
    for at, value in ((first, 1), (second, 0), (second + 4, 0)):  # KEYCTL_JOIN_SESSION_KEYRING, no name
        words.append((load, 0, 0, at))
        jump(value, to=len(words) + 1, otherwise=refuse)
    words += [(answer, 0, 0, 0x7FFF0000), (answer, 0, 0, 0x00050000 | errno.EPERM)]
    return b"".join(struct.pack("=HBBI", *word) for word in words)


def refuse_secrets(view: View, secrets: Iterable[Path]) -> None:
    """Refuse a view that would show the worker's own files, by whatever links.

    Raises:
        ProjectError: names each path that holds one or lies in one.
    """
    kept = [(secret, {secret, Path(os.path.realpath(secret))}) for secret in secrets]
    faults = set()
    for path in (*view.reads, *view.writes):
        for at in {path, Path(os.path.realpath(path))}:
            for secret, places in kept:
                if any(one.is_relative_to(at) for one in places):
                    faults.add(f"{path} holds {secret}")
                elif any(at.is_relative_to(one) for one in places):
                    faults.add(f"{path} lies in {secret}")
    if faults:
        raise ProjectError(
            f"a jail would show the worker's own files: {'; '.join(sorted(faults))}",
            hint="keep the worker's credentials and its state apart from interpreters and projects",
        )


def arguments_of(view: View, host: Host) -> list[str]:
    """The arguments of ``bwrap``, without the command."""
    words = ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    words += ["--die-with-parent", "--hostname", "job", "--clearenv"]
    if view.user is None:
        words += ["--unshare-user", "--uid", str(USER), "--gid", str(USER), "--cap-drop", "ALL"]
    else:  # what setpriv needs to become that user, which drops them
        words += ["--cap-drop", "ALL"]
        words += [word for one in ("SETUID", "SETGID", "SETPCAP") for word in ("--cap-add", f"CAP_{one}")]
    made: set[str] = {"/"}
    for path, target in host.links.items():
        words += ["--symlink", target, path]
    for path in host.folders:
        words += [*_parents(path, made), "--ro-bind", path, path]
    words += ["--ro-bind", "/proc", "/proc"] if view.shares_proc else ["--proc", "/proc"]
    words += ["--dev", "/dev"]
    words += ["--size", str(view.shared_memory_bytes), "--perms", "1777", "--tmpfs", "/dev/shm"]  # noqa: S108
    words += ["--perms", "0755", "--dir", "/var", "--symlink", "/tmp", "/var/tmp"]  # noqa: S108
    made |= {"/proc", "/dev", "/var"}
    shown = [("--bind", str(view.temporary), "/tmp"), ("--bind", str(view.home), HOME)]  # noqa: S108
    shown += [("--ro-bind", str(view.identity / one), f"/etc/{one}") for one in IDENTITY]
    writes = {str(path) for path in view.writes}
    shown += [("--ro-bind", str(path), str(path)) for path in view.reads if str(path) not in writes]
    shown += [("--bind", path, path) for path in writes]
    for socket, target in ((view.door, DOOR), (view.hosts, HOSTS)):
        if socket is not None:
            shown.append(("--ro-bind", str(socket), target))
    # The outermost first: what is shown later covers what was shown before.
    for how, source, target in sorted(set(shown), key=lambda one: (one[2].count("/"), one[2])):
        words += [*_parents(target, made), how, source, target]
    # Made in memory by bubblewrap, and else the job's to fill where it is its own user's.
    return [*words, "--remount-ro", "/dev", "--remount-ro", "/"]


def identity_of(user: int) -> dict[str, str]:
    """The content of the files ``IDENTITY`` for a user: ssh-keygen and getpass fail without a name for it."""
    return {
        "group": f"job:x:{user}:\n",
        "hosts": "127.0.0.1 localhost job\n::1 localhost\n",
        "passwd": f"job:x:{user}:{user}:job:{HOME}:/bin/sh\n",
    }


def _parents(path: str, made: set[str]) -> list[str]:
    """Make the folders above a path with plain rights: bubblewrap would make them for root alone."""
    words = []
    for parent in reversed([str(one) for one in PurePosixPath(path).parents]):
        if parent not in made:
            made.add(parent)
            words += ["--perms", "0755", "--dir", parent]
    made.add(path)
    return words


def folders_of_interpreter(python: Path) -> tuple[Path, ...]:
    """What an interpreter needs of the folders around it, its environment's own included.

    Args:
        python: the path of an interpreter, in a virtual environment or not.

    Returns:
        Folders outside of ``/usr``: those of the environment's links and of the installation behind them.
    """
    found: dict[Path, None] = {}
    at = python
    for _ in range(40):  # as many links as the kernel follows
        prefix = at.parent.parent
        for name in ("bin", "include", "lib", "lib64", "share"):
            if (prefix / name).is_dir() and not prefix.is_relative_to("/usr"):
                found[prefix / name] = None
        if not at.is_symlink():
            break
        at = Path(os.path.normpath(at.parent / at.readlink()))
    return tuple(found)

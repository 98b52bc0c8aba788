"""What a hostile program tries in a jail, and what it gets: one JSON list of pairs on standard output.

A script for a bare interpreter, started in a jail with the path of a file that says what there is to find.
Each attack returns a sentence about what it gained, or raises the error that it got.
"""

from __future__ import annotations

import ctypes
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

ATTACKS: dict[str, Callable[[dict[str, Any]], str]] = {}
LIBC = ctypes.CDLL(None, use_errno=True)
DOOR = "http://127.0.0.1:47301"
PTRACE_ATTACH, MS_BIND = 16, 4096


def tries(what: str) -> Callable[[Callable[[dict[str, Any]], str]], None]:
    """Name an attack, in words that complete "it tries to"."""

    def add(attack: Callable[[dict[str, Any]], str]) -> None:
        ATTACKS[what] = attack

    return add


def called(result: int) -> int:
    """The result of a call of the C library; raises its error."""
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


@tries("read the worker's credentials and the token of the run")
def _(known: dict[str, Any]) -> str:
    return f"read {[pathlib.Path(one).read_bytes() for one in known['secrets']]}"


@tries("list the caches, the other runs and the folder of the store")
def _(known: dict[str, Any]) -> str:
    return f"listed {[sorted(map(str, pathlib.Path(one).iterdir())) for one in known['folders']]}"


@tries("read the passwords of the machine")
def _(known: dict[str, Any]) -> str:
    return pathlib.Path("/etc/shadow").read_text()


@tries("read the worker's command line")
def _(known: dict[str, Any]) -> str:
    return "read it" if pathlib.Path("/proc", known["worker"], "cmdline").read_bytes() else "it is empty"


@tries("read the worker's environment")
def _(known: dict[str, Any]) -> str:
    return f"read {pathlib.Path('/proc', known['worker'], 'environ').read_bytes()!r}"


@tries("read the worker's memory")
def _(known: dict[str, Any]) -> str:
    with pathlib.Path("/proc", known["worker"], "mem").open("rb") as memory:
        return f"opened {memory.name}"


@tries("open a file through the worker's descriptors")
def _(known: dict[str, Any]) -> str:
    return f"read {pathlib.Path('/proc', known['worker'], 'fd', '0').readlink()}"


@tries("send a signal to the worker")
def _(known: dict[str, Any]) -> str:
    os.kill(-1, signal.SIGWINCH)  # to whatever it may send one
    return "none of them reaches it"


@tries("take over the program that started it, and speak to the worker in its place")
def _(known: dict[str, Any]) -> str:
    called(LIBC.ptrace(PTRACE_ATTACH, os.getppid(), None, None))
    return "traces it"


@tries("find a secret in its own environment")
def _(known: dict[str, Any]) -> str:
    found = [name for name in os.environ if name not in {"HOME", "LC_CTYPE", "PATH", "TMPDIR"}]
    return f"found {found}" if found else "nothing is there"


@tries("connect to the store past the door")
def _(known: dict[str, Any]) -> str:
    return f"connected to {socket.create_connection(('127.0.0.1', known['port']), timeout=5)}"


@tries("connect to a socket of the worker's, by its path")
def _(known: dict[str, Any]) -> str:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(known["socket"])
    return "connected"


@tries("connect to a socket of the worker's without a path")
def _(known: dict[str, Any]) -> str:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(f"\0{known['abstract']}")
    return "connected"


@tries("connect to a host of the internet")
def _(known: dict[str, Any]) -> str:
    return f"connected to {socket.create_connection(('192.0.2.1', 443), timeout=5)}"


@tries("look up the name of a host")
def _(known: dict[str, Any]) -> str:
    return f"found {socket.getaddrinfo('packages.example', 443)}"


def asked(path: str, content: bytes | None = None) -> str:
    """What the door answers."""
    try:
        return str(urllib.request.urlopen(DOOR + path, content, timeout=5).read())
    except urllib.error.HTTPError as error:
        return f"HTTP {error.code}"


@tries("read the store's API through the door")
def _(known: dict[str, Any]) -> str:
    return asked("/api/v1/runs")


@tries("leave the simple pages by a path with dots")
def _(known: dict[str, Any]) -> str:
    return asked("/unstable/simple/%2e%2e/%2e%2e/api/v1/runs")


@tries("upload a file, or hand in forged evidence, through the door")
def _(known: dict[str, Any]) -> str:
    said = {asked(path, b"{}") for path in ("/unstable/legacy/", "/api/v1/evidence")}
    return ", ".join(sorted(said))


@tries("use the way of builds to other hosts")
def _(known: dict[str, Any]) -> str:
    return f"connected to {socket.create_connection(('127.0.0.1', 47302), timeout=5)}"


def write_into(folder: str) -> str:
    """Leave a file in a folder."""
    pathlib.Path(folder, "planted").write_text("x")
    return f"wrote into {folder}"


@tries("plant a file among the programs of the system")
def _(known: dict[str, Any]) -> str:
    return write_into("/usr/bin")


@tries("plant a module in its interpreter")
def _(known: dict[str, Any]) -> str:
    return write_into(str(pathlib.Path(json.__file__).parent))


@tries("write into the folder of another run")
def _(known: dict[str, Any]) -> str:
    return write_into(known["folders"][1])


@tries("leave files beside its folders, where nothing measures them")
def _(known: dict[str, Any]) -> str:
    return f"{write_into('/')}, {write_into('/dev')}"


@tries("become root")
def _(known: dict[str, Any]) -> str:
    os.setuid(0)
    return "is root"


@tries("mount a folder over another one")
def _(known: dict[str, Any]) -> str:
    called(LIBC.mount(b"/tmp", b"/usr", None, MS_BIND, None))
    return "mounted it"


@tries("change a setting of the kernel")
def _(known: dict[str, Any]) -> str:
    with pathlib.Path("/proc/sys/kernel/core_pattern").open("r+") as setting:
        return f"opened {setting.name}"


@tries("type into the worker's terminal")
def _(known: dict[str, Any]) -> str:
    with pathlib.Path("/dev/tty").open("w") as terminal:
        return f"opened {terminal.name}"


@tries("leave a program behind that goes on")
def _(known: dict[str, Any]) -> str:
    left = ["env", "-i", "setsid", "sh", "-c", f"sleep 300; : {known['mark']}"]
    subprocess.Popen(left, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return "it ended with the jail"


@tries("hand over a link to the worker's key in place of a result")
def _(known: dict[str, Any]) -> str:
    pathlib.Path("result.xml").symlink_to(known["secrets"][0])
    return "the worker takes plain files alone"


def tried(known: dict[str, Any]) -> list[tuple[str, str]]:
    """Each attack, and what it got."""
    found = []
    for what, attack in ATTACKS.items():
        try:
            found.append((what, attack(known)))
        except OSError as error:
            found.append((what, str(error.strerror or error)))
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(tried(json.loads(pathlib.Path(sys.argv[1]).read_text()))))

"""The clients that the flows are played with: real tools, pinned in ``requirements/clients``.

A tool stands in an environment of its own, made once per run and shared by all test processes; an installer
gets a new one each time, because it changes what it stands in. They come from wherever the caller's own
configuration says; what they then do, they do in a clean environment with an empty home.
"""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.version import Version

from conveyor.project.environment import Environment, make_environment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PINNED = Path(__file__).resolve().parents[2] / "requirements" / "clients"
CALL_SECONDS = 300
INSTALLERS = {"pip", "setuptools", "uv", "wheel"}


@dataclass(frozen=True)
class Called:
    """How a call of a client ended."""

    command: str
    returncode: int
    output: str
    """What it wrote, standard output first, with every run of blanks as one: clients wrap their lines."""

    def succeeded(self) -> str:
        """The output; fails the test when the call failed."""
        assert self.returncode == 0, f"{self.command} ended with {self.returncode}\n{self.output}"
        return self.output

    def failed(self) -> str:
        """The output; fails the test when the call succeeded."""
        assert self.returncode != 0, f"{self.command} succeeded\n{self.output}"
        return self.output


@dataclass(frozen=True)
class Client:
    """A client in its environment, and who calls it."""

    environment: Environment
    home: Path
    """The caller's home folder and, if no other is given, the folder of the call."""

    def call(self, program: str, *arguments: str | Path, folder: Path | None = None) -> Called:
        """Run a program of the environment in a folder."""
        return self._run([self._programs / program, *arguments], folder, {})

    def play(self, script: str, *, folder: Path, variables: Mapping[str, str] | None = None) -> Called:
        """Have a shell play a script in a folder, with the environment's programs first on its path."""
        return self._run(["/bin/sh", "-ec", script], folder, variables or {})

    @property
    def _programs(self) -> Path:
        return self.environment.path / "bin"

    def _run(
        self, command: Sequence[str | Path], folder: Path | None, variables: Mapping[str, str]
    ) -> Called:
        clean = {
            "PATH": f"{self._programs}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "NO_COLOR": "1",
            "COLUMNS": "400",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PDM_CHECK_UPDATE": "false",
            "PIPENV_VENV_IN_PROJECT": "1",
            "POETRY_VIRTUALENVS_IN_PROJECT": "true",
            "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
            "UV_PYTHON": str(self.environment.python),  # else uv asks every interpreter of the machine
            "UV_PYTHON_DOWNLOADS": "never",
        }
        done = subprocess.run(
            command,
            env=clean | dict(variables),
            cwd=folder or self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=CALL_SECONDS,
        )
        words = " ".join(map(str, command))
        return Called(words, done.returncode, re.sub(r"\s+", " ", done.stdout + done.stderr))


def shared_client(name: str, *, shared: Path, home: Path, pinned: Path | None = None) -> Client:
    """A tool, named as in ``requirements/clients``, installed below ``shared`` by who comes first.

    ``pinned``: its requirements, if they are elsewhere.
    """
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        environment, is_complete = Environment(shared / name), shared / f"{name}.complete"
        if not is_complete.exists():
            environment = make_environment(shared / name)
            requirements = _requirements(name) if pinned is None else pinned.read_text(encoding="utf-8")
            _install(environment, name, requirements)
            is_complete.touch()
    return Client(environment, home)


def new_installer(name: str, version: str, *, folder: Path, home: Path) -> Client:
    """One version of pip or uv in an environment where nothing else is."""
    environment = make_environment(folder)
    _install(environment, name, _installers()[name][version])
    return Client(environment, home)


def installed_in(client: Client, environment: Path | None = None) -> dict[str, str]:
    """Name → version of what stands in an environment (the client's own), installers left out."""
    script = "import importlib.metadata as m; print(*(f'{d.name}=={d.version}' for d in m.distributions()))"
    python = (environment or client.environment.path) / "bin" / "python"
    said = client.call(str(python), "-c", script).succeeded()
    found = dict(each.split("==") for each in said.split())
    return {name: version for name, version in found.items() if name not in INSTALLERS}


def versions_of(name: str) -> list[str]:
    """The pinned versions of an installer, oldest first; the last is the newest there was."""
    return sorted(_installers()[name], key=Version)


def _requirements(name: str) -> str:
    """The pinned requirements of a tool; of an installer, those of its newest version."""
    installers = _installers()
    if name in installers:
        return installers[name][versions_of(name)[-1]]
    return (PINNED / f"{name}.txt").read_text(encoding="utf-8")


def _install(environment: Environment, name: str, requirements: str) -> None:
    file = environment.path / f"{name}.txt"
    file.write_text(requirements, encoding="utf-8")
    environment.install(options=("--require-hashes", "-r", str(file)))


@cache
def _installers() -> dict[str, dict[str, str]]:
    """Installer → version → its lines of ``installers.txt``."""
    text = (PINNED / "installers.txt").read_text(encoding="utf-8")
    found: dict[str, dict[str, str]] = {}
    for name, version, hashes in re.findall(
        r"^(\w+)==(\S+)((?: \\\n +--hash=\S+)+)", text, flags=re.MULTILINE
    ):
        found.setdefault(name, {})[version] = f"{name}=={version}{hashes}\n"
    return found

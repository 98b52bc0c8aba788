"""The actors of the demo: processes with a clean environment, a throw-away signing key, a bare repository."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from conveyor.errors import MissingTool, StepFailed
from conveyor.project.foreign import clean_environment_variables

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

CONVEYOR = (sys.executable, "-m", "conveyor")
"""This installation, whatever else is on the PATH."""

GIT_IDENTITY = {
    "GIT_AUTHOR_NAME": "Conveyor demo",
    "GIT_AUTHOR_EMAIL": "demo@localhost",
    "GIT_COMMITTER_NAME": "Conveyor demo",
    "GIT_COMMITTER_EMAIL": "demo@localhost",
    # The viewer's own git settings (signing, hooks, default branch) play no part in the story.
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}
STOP_SECONDS = 10.0


def call(arguments: Sequence[str | Path], *, folder: Path, extra: Mapping[str, str] | None = None) -> str:
    """Run a program to its end in a clean environment and return its standard output.

    Raises:
        StepFailed: its exit code is not 0; the error carries its output.
        MissingTool: there is no such program.
    """
    try:
        done = subprocess.run(
            [str(argument) for argument in arguments],
            cwd=folder,
            env=clean_environment_variables() | GIT_IDENTITY | dict(extra or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise MissingTool(f"{arguments[0]} is not installed", hint=f"install {arguments[0]}") from error
    if done.returncode != 0:
        words = " ".join(str(argument) for argument in arguments)
        raise StepFailed(
            f"`{words}` ended with code {done.returncode}:\n{(done.stdout + done.stderr).strip()}",
            log=done.stdout + done.stderr,
        )
    return done.stdout


@dataclass
class Cast:
    """The processes of the story; each is ended by its own pid."""

    folder: Path
    running: list[tuple[str, subprocess.Popen[str]]] = field(default_factory=list)

    def start(
        self, name: str, arguments: Sequence[str | Path], *, extra: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start a process whose standard error goes to ``FOLDER/NAME.log``."""
        with (self.folder / f"{name}.log").open("w", encoding="utf-8") as log:
            process = subprocess.Popen(
                [str(argument) for argument in arguments],
                cwd=self.folder,
                env=clean_environment_variables() | GIT_IDENTITY | dict(extra or {}),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # Ctrl-C reaches only the story, which then ends its cast in order
            )
        self.running.append((name, process))
        return process

    def check(self) -> None:
        """Raise StepFailed with the tail of its log if a process of the cast has ended."""
        for name, process in self.running:
            if process.poll() is not None:
                tail = (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")[-2000:]
                raise StepFailed(f"the {name} ended early with code {process.returncode}:\n{tail}", log=tail)

    def stop(self, *, but: str | None = None) -> None:
        """End every process except ``but``, youngest first; those that do not react are killed."""
        for name, process in reversed(self.running):
            if name == but or process.poll() is not None:
                continue
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for _, process in self.running:
            if process.stdout is not None:
                process.stdout.close()


def start_store(cast: Cast, *, data: Path, access_log: Path) -> str:
    """Start a store on a free port of the loopback interface; returns its URL without a trailing slash."""
    process = cast.start(
        "store",
        [*CONVEYOR, "store", "serve", "--data", data, "--port", "0", "--access-log", access_log],
    )
    assert process.stdout is not None  # noqa: S101 - it was opened as a pipe above
    line = process.stdout.readline().strip()
    if not line.startswith("serving "):
        process.wait(STOP_SECONDS)
        cast.check()
        raise StepFailed(f'the store printed "{line}" instead of its address')
    return line.removeprefix("serving ").rstrip("/")


def make_signing_key(folder: Path) -> Path:
    """Make a throw-away SSH key for QA; returns the private key's path, the public one ends in .pub."""
    key = folder / "qa-key"
    call(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "qa", "-f", key], folder=folder)
    return key


def make_bare_repository(folder: Path, *, name: str, store_url: str, token: str) -> Path:
    """Make a bare repository whose every push requests a pipeline run; returns its path."""
    repository = folder / f"{name}.git"
    call(["git", "init", "-q", "--bare", "-b", "main", repository], folder=folder)
    hook = repository / "hooks" / "post-receive"
    words = " ".join(f"'{word}'" for word in (*CONVEYOR, "pipeline", "trigger"))
    hook.write_text(
        "#!/bin/sh\n"
        "# Each pushed line `old new ref` becomes a run that a worker claims.\n"
        f"CONVEYOR_TOKEN='{token}' exec {words} --store '{store_url}' --repo '{repository}' --hook\n",
        encoding="utf-8",
    )
    hook.chmod(0o700)
    return repository


def wait_for(seconds: float) -> None:
    """Let the others work for a moment."""
    time.sleep(seconds)

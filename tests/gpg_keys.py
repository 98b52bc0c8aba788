"""OpenPGP keys and signed tags, made by real gpg and git in a home of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from releases_made import tag_object

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class GpgHome:
    """A home of gpg with its keys."""

    folder: Path

    def run(self, *arguments: str, at: str | None = None, stdin: bytes = b"") -> bytes:
        """Run gpg without a passphrase, at another time if one is given (``20260101T000000``)."""
        when = () if at is None else ("--faked-system-time", at)
        words = ("gpg", "--homedir", str(self.folder), "--batch", "-q", "--no-tty", "--passphrase", "", *when)
        done = subprocess.run([*words, *arguments], input=stdin, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def make_key(
        self, name: str, *, usage: str = "sign", expires: str = "never", at: str = "20260101T000000"
    ) -> str:
        """Make a key; its fingerprint."""
        self.run("--quick-gen-key", f"{name} <{name}@gpg.example>", "ed25519", usage, expires, at=at)
        return self.keys_of(name)[0]

    def add_subkey(self, key: str, *, expires: str = "never", at: str = "20260101T000000") -> str:
        """Add a signing subkey; its fingerprint."""
        self.run("--quick-add-key", key, "ed25519", "sign", expires, at=at)
        return self.keys_of(key)[-1]

    def keys_of(self, key: str) -> list[str]:
        """Fingerprints of a key and its subkeys."""
        listed = self.run("--list-keys", "--with-colons", key).decode().splitlines()
        return [line.split(":")[9] for line in listed if line.startswith("fpr:")]

    def export(self, *keys: str) -> str:
        """The armoured public keys."""
        return self.run("--armor", "--export", *keys).decode()

    def sign_tag(self, repository: Path, key: str, tag: str, *options: str, at: str | None = None) -> bytes:
        """Make a signed tag with git and return its object; ``options`` are gpg's."""
        program = self.folder / "program"
        when = "" if at is None else f"--faked-system-time {at}"
        words = f'gpg --homedir "{self.folder}" --batch --passphrase "" {when} {" ".join(options)}'
        program.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        program.chmod(0o755)
        signing = ["-c", "gpg.format=openpgp", "-c", f"user.signingkey={key}", "-c", f"gpg.program={program}"]
        identity = {
            f"GIT_{role}_{part}": "maker@localhost"
            for role in ("AUTHOR", "COMMITTER")
            for part in ("NAME", "EMAIL")
        }
        environment = os.environ | identity | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        command = ["git", "-C", str(repository), *signing, "tag", "-f", "-s", "-m", f"release {tag}", tag]
        subprocess.run(command, env=environment, check=True, capture_output=True)
        return tag_object(repository, tag)


@contextmanager
def gpg_home() -> Iterator[GpgHome]:
    """A home below a short path: sockets of the agent have short names. The agent ends with it."""
    folder = Path(tempfile.mkdtemp(prefix="gpg-"))
    try:
        yield GpgHome(folder)
    finally:
        subprocess.run(["gpgconf", "--homedir", str(folder), "--kill", "all"], check=False)
        shutil.rmtree(folder, ignore_errors=True)

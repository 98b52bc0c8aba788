"""Real git hosts on loopback: ``git http-backend`` and Git LFS behind TLS and a password; an SSH server."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING

from certificates import serving_tls
from postgres_server import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class GitHost:
    """A server of the repositories below a folder."""

    url: str
    """Without a slash at its end."""
    root: Path
    asked: list[tuple[str, str]] = field(default_factory=list)
    """(path, ``Authorization`` or empty) of each request over https."""
    redirects: dict[str, str] = field(default_factory=dict)
    """First part of a path → the URL to go on with."""
    passwords: dict[str, str] = field(default_factory=dict)
    """First part of a path → ``user:password`` that opens it; others are open to everybody."""
    objects: dict[str, bytes] = field(default_factory=dict)
    """Files of Git LFS, by digest; clients put them here, and get them from here."""
    is_without_lfs: bool = False
    objects_url: str | None = None
    """Where the batch API says that they are; ``None``: at this host."""


@contextmanager
def running_git_over_https(root: Path, certificate: tuple[str, str]) -> Iterator[GitHost]:
    """``git http-backend`` on a free port of loopback, as any web server would call it."""
    with serving_tls(_Handler, certificate) as server:
        host = GitHost(f"https://localhost:{server.server_port}", root)
        server.git_host = host  # type: ignore[attr-defined] # what the handler finds through its server
        yield host


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        host: GitHost = self.server.git_host  # type: ignore[attr-defined] # as set above
        content = self.rfile.read(int(self.headers["Content-Length"]))
        host.objects[self.path.rpartition("/")[2]] = content
        self._send(200, b"")

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/vnd.git-lfs+json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _batch(self, host: GitHost) -> None:
        """The batch API of Git LFS, with its basic transfer."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        told = []
        for one in asked["objects"]:
            oid, action = one["oid"], asked["operation"]
            if action == "download" and oid not in host.objects:
                told.append(one | {"error": {"code": 404, "message": "it was never pushed"}})
            else:
                href = f"{host.objects_url or host.url}/objects/{oid}"
                told.append(one | {"actions": {action: {"href": href, "header": {"X-Ticket": "1"}}}})
        self._send(200, json.dumps({"transfer": "basic", "objects": told}).encode())

    def _answer(self) -> None:
        host: GitHost = self.server.git_host  # type: ignore[attr-defined] # as set above
        path, _, query = self.path.partition("?")
        given = self.headers.get("Authorization", "")
        host.asked.append((path, given))
        first = path.split("/")[1].removesuffix(".git")
        if first == "objects":
            content = host.objects.get(path.rpartition("/")[2]) if self.headers["X-Ticket"] else None
            self._send(404 if content is None else 200, content or b"")
            return
        if first in host.redirects:
            self.send_response(301)
            self.send_header("Location", host.redirects[first] + self.path.removeprefix(f"/{first}"))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        wanted = host.passwords.get(first)
        if wanted is not None and given != f"Basic {base64.b64encode(wanted.encode()).decode()}":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if path.endswith("/info/lfs/objects/batch") and not host.is_without_lfs:
            self._batch(host)
            return
        if "/info/lfs/" in path:  # locks, which clients ask for before they push
            self._send(404, b"{}")
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        done = subprocess.run(
            ["git", "-c", "safe.directory=*", "http-backend"], input=body, capture_output=True, check=True,
            env=os.environ | {
                "GIT_PROJECT_ROOT": str(host.root), "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path,
                "QUERY_STRING": query, "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            },
        )  # fmt: skip
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        lines = [line.split(": ", 1) for line in head.decode().split("\r\n")]
        fields = dict(lines) | {"Content-Length": str(len(content))}
        self.send_response(int(fields.pop("Status", "200").split()[0]))
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as in the base class
        """Nothing."""


@dataclass(frozen=True)
class SshHost:
    """An SSH server that lets one key read."""

    port: int
    key: Path
    known_hosts: Path


@contextmanager
def running_sshd(folder: Path) -> Iterator[SshHost]:
    """An SSH server on a free port of loopback, as the user of the tests, and a key that may come in."""
    folder.mkdir()
    for name in ("host", "deploy"):
        made = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(made, check=True)
    port = free_port()
    (folder / "authorized").write_text("restrict " + (folder / "deploy.pub").read_text())
    (folder / "known").write_text(f"[127.0.0.1]:{port} " + (folder / "host.pub").read_text())
    settings = (
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\nUsePAM no\n"
        f"AuthorizedKeysFile {folder}/authorized\nStrictModes no\nPermitRootLogin prohibit-password\n"
    )
    (folder / "config").write_text(settings)
    if os.geteuid() == 0:  # where it leaves its privileges
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    command = ["/usr/sbin/sshd", "-D", "-e", "-f", str(folder / "config")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            for line in server.stderr:
                if "listening on" in line:
                    break
            threading.Thread(target=server.stderr.read, daemon=True).start()
            yield SshHost(port, folder / "deploy", folder / "known")
        finally:
            server.terminate()

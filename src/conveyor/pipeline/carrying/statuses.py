"""Commit statuses: what a git host shows beside a commit about its run, told by the worker that carries it.

The worker tells, because the token of a git host lies with it and never in the store (``engine.keyring``).
What is to be told is a small file in the state folder, written before it is sent and removed when the end of
the run was told, so that a worker that is killed tells it when it comes back. Only the newest state counts:
an older one that did not arrive is not sent afterwards. A host that does not answer is tried again ever more
rarely, for a day; no run waits for it, and none fails by it.

    gitlab   POST {api}/projects/{path, encoded}/statuses/{commit}    PRIVATE-TOKEN: …
    github   POST {api}/repos/{path}/statuses/{commit}                Authorization: Bearer …
    gitea    POST {api}/repos/{path}/statuses/{commit}                Authorization: token …

Forgejo is asked as Gitea is. Sources: GitLab, "Commits API: set commit pipeline status"; GitHub, "REST API
endpoints for commit statuses"; Gitea, "Create a commit status".
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3

from conveyor.domain.runs.repositories import canonical_url
from conveyor.errors import ConveyorError
from conveyor.pipeline.engine.keyring import FOLDER, find_status_account, has_status_accounts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from conveyor.domain.runs.states import Run
    from conveyor.pipeline.engine.keyring import StatusAccount

STATUSES = "statuses"
"""Their folder, in the state folder."""
PAUSES_SECONDS = (2, 10, 30, 120, 600, 1800, 3600)
GIVEN_UP_AFTER_SECONDS = 24 * 3600
TIMEOUT_SECONDS = 10.0
LONGEST_DESCRIPTION = 140
"""Characters; GitHub takes no more."""
LARGEST_ANSWER = 64 * 1024

CommitState = Literal["running", "success", "failed", "canceled"]
_OF_RUN: Mapping[str, CommitState] = {
    "running": "running", "succeeded": "success", "failed": "failed", "cancelled": "canceled",
}  # fmt: skip
_ELSEWHERE: Mapping[CommitState, str] = {
    "running": "pending", "success": "success", "failed": "failure", "canceled": "error",
}  # fmt: skip
"""What GitHub and Gitea call them."""


@dataclass(frozen=True)
class CommitStatus:
    """What is to be told about the run of a commit."""

    run: int
    repository: str
    commit: str
    state: CommitState
    name: str
    """Statuses of one name replace each other."""
    description: str
    target_url: str
    changed_at: float
    """Seconds since 1970."""
    sent: CommitState | None = None
    attempts: int = 0
    """Those that failed since the last one that did not."""
    next_at: float = 0.0

    @property
    def has_ended(self) -> bool:
        """Whether the run has."""
        return self.state != "running"


def status_of(run: Run, store_url: str, *, now: float) -> CommitStatus | None:
    """What is to be told of a run; ``None`` as long as its commit is not known, or it was never begun."""
    state = _OF_RUN.get(run.state)
    if state is None or run.commit is None:
        return None
    tag = run.ref.removeprefix("refs/tags/") if run.ref.startswith("refs/tags/") else None
    name = "/".join(["conveyor", *([run.project] if run.project else []), *([tag] if tag else [])])
    release = f"{run.project} {run.version}" if run.project and run.version else "the commit"
    words = run.detail or {"running": f"{release} is on its way", "success": f"{release} has arrived"}.get(
        state
    )
    description = " ".join((words or f"the run has {run.state}").split())
    if len(description) > LONGEST_DESCRIPTION:
        description = description[: LONGEST_DESCRIPTION - 1] + "…"
    url = f"{store_url}/api/v1/runs/{run.id}"
    return CommitStatus(run.id, canonical_url(run.repository), run.commit, state, name, description, url, now)


def request_of(status: CommitStatus, account: StatusAccount) -> tuple[str, dict[str, str], bytes]:
    """The URL, the headers and the JSON body by which a host is told."""
    path = urlsplit(account.url).path if "://" in account.url else account.url.partition(":")[2]
    path = path.strip("/").removesuffix(".git")
    told = {"target_url": status.target_url, "description": status.description}
    if account.host == "gitlab":
        url = f"{account.api}/projects/{quote(path, safe='')}/statuses/{status.commit}"
        told |= {"state": status.state, "name": status.name}
        headers = {"PRIVATE-TOKEN": account.token}
    else:
        url = f"{account.api}/repos/{quote(path)}/statuses/{status.commit}"
        told |= {"state": _ELSEWHERE[status.state], "context": status.name}
        scheme = "Bearer" if account.host == "github" else "token"
        headers = {"Authorization": f"{scheme} {account.token}"}
        if account.host == "github":
            headers |= {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
    headers |= {"Content-Type": "application/json", "User-Agent": "conveyor"}
    return url, headers, json.dumps(told).encode()


class Statuses:
    """The statuses that a worker tells; one for each state folder and store."""

    def __init__(self, state: Path, *, prefix: str) -> None:
        """``prefix`` begins the names of the files of one store."""
        self._folder = state / STATUSES
        self._keyring = state / FOLDER
        self._prefix = prefix

    @property
    def are_told(self) -> bool:
        """Whether any host is told anything."""
        return has_status_accounts(self._keyring)

    def note(self, run: Run, store_url: str) -> None:
        """Remember what is to be told of a run, if its host is to be told and that is news."""
        status = status_of(run, store_url, now=time.time())
        if status is None or self._account(status) is None:
            return
        known = self._read(run.id)
        if known is None or (known.state, known.name, known.commit) != (
            status.state,
            status.name,
            status.commit,
        ):
            sent = known.sent if known is not None and known.name == status.name else None
            self._write(replace(status, sent=sent))

    def unfinished(self) -> list[int]:
        """The runs of which something was told, and not that they have ended."""
        return [one.run for one in self._all() if not one.has_ended]

    def send(self) -> int:
        """Tell what is due; returns how many hosts took it. Never raises because of a host."""
        told = 0
        for status in self._all():
            if status.sent == status.state and not status.has_ended:
                continue
            if status.next_at <= time.time():
                told += self._send(status)
        return told

    def _send(self, status: CommitStatus) -> bool:
        account = self._account(status)
        if account is None:
            self._forget(status.run)
            return False
        is_taken, is_final = _post(*request_of(status, account))
        now = time.time()
        if (is_taken and status.has_ended) or is_final or now - status.changed_at > GIVEN_UP_AFTER_SECONDS:
            self._forget(status.run)
        elif is_taken:
            self._write(replace(status, sent=status.state, attempts=0), known=status)
        else:
            pause = PAUSES_SECONDS[min(status.attempts, len(PAUSES_SECONDS) - 1)]
            later = replace(status, attempts=status.attempts + 1, next_at=now + pause)
            self._write(later, known=status)
        return is_taken

    def _account(self, status: CommitStatus) -> StatusAccount | None:
        try:
            return find_status_account(self._keyring, status.repository)
        except ConveyorError:  # it lies open; "conveyor pipeline credentials list" says so
            return None

    def _all(self) -> list[CommitStatus]:
        if not self._folder.is_dir():
            return []
        runs = [
            path.name.removeprefix(self._prefix).removesuffix(".json")
            for path in self._folder.glob(f"{self._prefix}*.json")
        ]
        return [one for run in sorted(map(int, runs)) if (one := self._read(run)) is not None]

    def _path(self, run: int) -> Path:
        return self._folder / f"{self._prefix}{run}.json"

    def _read(self, run: int) -> CommitStatus | None:
        with suppress(OSError, ValueError, TypeError):
            return CommitStatus(**json.loads(self._path(run).read_text(encoding="utf-8")))
        return None

    def _write(self, status: CommitStatus, *, known: CommitStatus | None = None) -> None:
        """Write a status whole or not at all; ``known``: unless something newer was noted meanwhile."""
        if known is not None and self._read(status.run) != known:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        unfinished = self._path(status.run).with_suffix(f".{os.getpid()}.part")
        with suppress(OSError):  # a full disk ends no run
            unfinished.write_text(json.dumps(asdict(status)), encoding="utf-8")
            unfinished.replace(self._path(status.run))

    def _forget(self, run: int) -> None:
        self._path(run).unlink(missing_ok=True)


def _post(url: str, headers: dict[str, str], body: bytes) -> tuple[bool, bool]:
    """Whether a host took a status, and, if not, whether it never will."""
    parts = urlsplit(url)
    proxy = None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)
    pool: Any = urllib3.ProxyManager(proxy) if proxy else urllib3.PoolManager()
    with pool:
        try:
            answer = pool.request(
                "POST", url, headers=headers, body=body, redirect=False, retries=False,
                timeout=TIMEOUT_SECONDS, preload_content=False,
            )  # fmt: skip
            text = answer.read(LARGEST_ANSWER)
            answer.close()
        except (urllib3.exceptions.HTTPError, OSError):
            return False, False
    if 200 <= answer.status < 300:
        return True, False
    if answer.status == 400 and b"Cannot transition status" in text:  # GitLab: it has that state already
        return True, False
    return False, answer.status in (404, 409, 410, 422)

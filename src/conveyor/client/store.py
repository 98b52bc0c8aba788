"""A store, as its clients see it: one method per thing that can be asked of it."""

from __future__ import annotations

import base64
import hashlib
import os
import time
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urlencode

from urllib3.exceptions import HTTPError

from conveyor.client.answers import (
    Release,
    ReleaseFile,
    read_deletion,
    read_indexes,
    read_project_size,
    read_project_status,
    read_promotion,
    read_release,
    read_releases,
    read_run,
    read_runs,
    read_verdicts,
    read_yank,
)
from conveyor.client.http import BACKOFF_SECONDS, CONNECT_ATTEMPTS, StoreConnection
from conveyor.client.uploads import make_form
from conveyor.errors import InvalidInput, StorageFailed, StoreUnreachable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from conveyor.client.http import Connection
    from conveyor.domain.deletions import Deletion
    from conveyor.domain.indexes import Index
    from conveyor.domain.project_sizes import ProjectSize
    from conveyor.domain.project_status import ProjectStatus, StatusName
    from conveyor.domain.promotions import Promotion
    from conveyor.domain.runs import Run
    from conveyor.domain.verdicts import Verdict
    from conveyor.domain.yanks import Yank

__all__ = ["Release", "ReleaseFile", "StoreClient"]

DOWNLOAD_CHUNK_BYTES = 1024 * 1024


class StoreClient:
    """Asks one store, with a token or as anybody; may be shared by threads.

    Every method raises ``StoreUnreachable`` when there is no answer, else the error that the store raised.
    """

    def __init__(self, url: str, *, token: str | None = None, timeout_seconds: float = 60.0) -> None:
        self._connection: Connection = StoreConnection(url, token=token, timeout_seconds=timeout_seconds)

    @classmethod
    def over(cls, connection: Connection) -> Self:
        """A client that asks over this connection, and closes it with itself."""
        client = cls.__new__(cls)
        client._connection = connection
        return client

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The store's URL without a slash at its end."""
        return self._connection.url

    def close(self) -> None:
        """Close the connections that are kept open."""
        self._connection.close()

    # --- what there is -----------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """``version``, ``store`` (its id) and ``serial``."""
        return self._connection.ask("GET", "/api/v1/status", dict)

    def indexes(self) -> tuple[Index, ...]:
        """The indexes that this caller may read, by name."""
        return self._connection.ask("GET", "/api/v1/indexes", read_indexes)

    def release(self, project: str, version: str) -> Release:
        """One release; raises NotFound."""
        return self._connection.ask("GET", _release_path(project, version), read_release)

    def releases_of_commit(self, project: str, commit: str) -> list[Release]:
        """The releases of a project with build evidence that names the commit, oldest evidence first."""
        path = f"{_project_path(project)}/releases?{urlencode({'commit': commit})}"
        return list(self._connection.ask("GET", path, read_releases))

    def download(self, file: ReleaseFile, folder: Path) -> Path:
        """Fetch a file into a folder and return its path; its bytes are those of the digest.

        Raises:
            StoreUnreachable: the connection broke off, or other bytes came.
            StorageFailed: the file can not be written.
        """
        if file.filename != os.path.basename(file.filename) or file.filename in ("", ".", ".."):  # noqa: PTH119 - text, no path
            raise InvalidInput(f'"{file.filename}" is no filename')
        target = folder / file.filename
        unfinished = folder / f".{file.filename}.{os.getpid()}.part"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            try:
                self._fetch(file, unfinished)
                unfinished.replace(target)
            finally:
                unfinished.unlink(missing_ok=True)
        except OSError as error:
            raise StorageFailed(f"{target} can not be written: {error.strerror or error}") from error
        return target

    # --- what changes something --------------------------------------------------------------------------

    def upload(self, index: str, path: Path) -> None:
        """Upload a wheel or sdist; an identical file that is there already is a success."""
        form = make_form(path)
        for attempt in range(CONNECT_ATTEMPTS):
            try:
                self._connection.send(
                    "POST", f"/{quote(index)}/legacy/", body=form, headers=form.headers, may_repeat=False
                )
            except StoreUnreachable as error:
                is_broken_off = isinstance(error.__cause__, HTTPError)
                if not is_broken_off or attempt == CONNECT_ATTEMPTS - 1:
                    raise
                time.sleep(BACKOFF_SECONDS * 2**attempt)
            else:
                return

    def add_evidence(self, envelope: bytes) -> None:
        """Hand in a signed statement; the same one again is a success."""
        self._connection.ask("POST", "/api/v1/evidence", dict, body=envelope, may_repeat=True)

    def add_tag(self, project: str, tag_object: bytes) -> None:
        """Hand in a signed tag object (``git cat-file tag NAME``); the same one again is a success."""
        body = {"project": project, "tag_object": base64.b64encode(tag_object).decode()}
        self._connection.ask("POST", "/api/v1/tags", dict, json_body=body, may_repeat=True)

    def promote(self, project: str, version: str, *, to: str, source: str | None = None) -> Promotion:
        """Move a release to an index; raises PromotionRefused with one verdict per gate."""
        body = {"project": project, "version": version, "to": to, "from": source}
        return self._connection.ask(
            "POST", "/api/v1/promotions", read_promotion, json_body=body, may_repeat=True
        )

    def verdicts(self, project: str, version: str, *, to: str) -> tuple[Verdict, ...]:
        """One verdict per gate between where a release is and an index."""
        path = f"{_release_path(project, version)}/verdicts?{urlencode({'to': to})}"
        return self._connection.ask("GET", path, read_verdicts)

    def yank(
        self,
        project: str,
        version: str,
        *,
        index: str | None = None,
        filename: str | None = None,
        reason: str | None = None,
    ) -> Yank:
        """Yank a release, or one file of it, in one index or wherever this caller sees it."""
        body = {"index": index, "filename": filename, "reason": reason}
        path = f"{_release_path(project, version)}/yank"
        return self._connection.ask("PUT", path, read_yank, json_body=body, may_repeat=True)

    def unyank(
        self, project: str, version: str, *, index: str | None = None, filename: str | None = None
    ) -> Yank:
        """Take a yank back."""
        chosen = {"index": index, "filename": filename}
        query = urlencode({name: value for name, value in chosen.items() if value is not None})
        path = f"{_release_path(project, version)}/yank" + (f"?{query}" if query else "")
        return self._connection.ask("DELETE", path, read_yank, may_repeat=True)

    def delete(self, project: str, version: str | None = None, *, filename: str | None = None) -> Deletion:
        """Delete a file of a release, a release, or all files of a project; for ever."""
        path = _project_path(project) if version is None else _release_path(project, version)
        if filename is not None:
            if version is None:
                raise InvalidInput("a file is deleted out of a release: name its version too")
            path += f"/files/{_part(filename)}"
        return self._connection.ask("DELETE", path, read_deletion)

    def project_status(self, project: str) -> ProjectStatus:
        """The status that readers of a project's pages see."""
        return self._connection.ask("GET", f"{_project_path(project)}/status", read_project_status)

    def set_project_status(
        self, project: str, status: StatusName, *, reason: str | None = None
    ) -> ProjectStatus:
        """Archive, deprecate or quarantine a project, or set it active again."""
        body = {"status": status, "reason": reason}
        path = f"{_project_path(project)}/status"
        return self._connection.ask("PUT", path, read_project_status, json_body=body, may_repeat=True)

    def project_size(self, project: str) -> ProjectSize:
        """The bytes of all files of a project, and its own limit."""
        return self._connection.ask("GET", f"{_project_path(project)}/size", read_project_size)

    def set_project_size_limit(self, project: str, limit_bytes: int | None) -> ProjectSize:
        """Give a project a limit of its own; ``None``: that of the store holds."""
        path, body = f"{_project_path(project)}/size", {"limit_bytes": limit_bytes}
        return self._connection.ask("PUT", path, read_project_size, json_body=body, may_repeat=True)

    # --- pipeline runs -----------------------------------------------------------------------------------

    def runs(self, *, limit: int = 50) -> tuple[Run, ...]:
        """The newest runs, newest first."""
        return self._connection.ask("GET", f"/api/v1/runs?limit={limit}", read_runs)

    def run(self, run_id: int) -> Run:
        """One run with its steps; raises NotFound."""
        return self._connection.ask("GET", f"/api/v1/runs/{run_id}", read_run)

    def create_run(self, repository: str, ref: str) -> Run:
        """Ask for a commit or tag to be carried through."""
        body = {"repository": repository, "ref": ref}
        return self._connection.ask("POST", "/api/v1/runs", read_run, json_body=body)

    def claim_run(self, worker: str, *, run_id: int | None = None) -> Run | None:
        """Take the oldest requested run, or this one; ``None`` when none waits."""
        body = {"worker": worker, "run": run_id}
        answer = self._connection.send("POST", "/api/v1/runs/claim", json_body=body)
        return None if answer.status == 204 else read_run(answer.json())

    def report_step(
        self, run_id: int, name: str, state: str, detail: Mapping[str, Any] | str | None = None
    ) -> Run:
        """Write the state of one step of a run that this worker holds; a text is its summary."""
        path = f"/api/v1/runs/{run_id}/steps/{_part(name)}"
        body = {"state": state, "detail": detail}
        return self._connection.ask("PUT", path, read_run, json_body=body, may_repeat=True)

    def update_run(self, run_id: int, **fields: str | None) -> Run:
        """Write ``commit``, ``project``, ``version``, ``state`` or ``detail`` of a run this worker holds."""
        return self._connection.ask(
            "PATCH", f"/api/v1/runs/{run_id}", read_run, json_body=fields, may_repeat=True
        )

    # --- who counts --------------------------------------------------------------------------------------

    def add_index(
        self,
        name: str,
        *,
        mode: str,
        bases: Sequence[str] = (),
        gates: Sequence[str] = (),
        is_private: bool = False,
    ) -> None:
        """Make a local index."""
        body = {
            "name": name,
            "mode": mode,
            "bases": list(bases),
            "gates": list(gates),
            "is_private": is_private,
        }
        self._connection.ask("POST", "/api/v1/indexes", dict, json_body=body)

    def add_user(self, name: str, *, password: str | None, scopes: Sequence[str]) -> None:
        """Make a user."""
        body = {"name": name, "password": password, "scopes": list(scopes)}
        self._connection.ask("POST", "/api/v1/users", dict, json_body=body)

    def set_password(self, user: str, password: str) -> None:
        """Give a user a new password."""
        path = f"/api/v1/users/{_part(user)}/password"
        self._connection.send("PUT", path, json_body={"password": password}, may_repeat=True)

    def disable_user(self, user: str) -> None:
        """Let a user do nothing any more."""
        self._connection.send("DELETE", f"/api/v1/users/{_part(user)}")

    def add_token(
        self,
        user: str,
        *,
        scopes: Sequence[str] | None = None,
        indexes: Sequence[str] | None = None,
        projects: Sequence[str] | None = None,
        expires_at: str | None = None,
        description: str = "",
    ) -> str:
        """Make a token and return it; ``scopes`` ``None``: all that the user has."""
        body = {
            "user": user,
            "scopes": _list(scopes),
            "indexes": _list(indexes),
            "projects": _list(projects),
            "expires_at": expires_at,
            "description": description or None,
        }
        return self._connection.ask(
            "POST", "/api/v1/tokens", lambda value: str(value["token"]), json_body=body
        )

    def tokens(self, user: str | None = None) -> list[dict[str, Any]]:
        """Every token without its secret, or those of one user, oldest first."""
        path = "/api/v1/tokens" + (f"?{urlencode({'user': user})}" if user else "")
        return self._connection.ask("GET", path, lambda value: list(value["tokens"]))

    def revoke_token(self, token_id: int) -> None:
        """Revoke a token."""
        self._connection.send("DELETE", f"/api/v1/tokens/{token_id}")

    def add_signer(
        self, principal: str, public_key: str, *, role: str = "qa", valid_until: str | None = None
    ) -> None:
        """Register a person's public SSH key."""
        body = {"principal": principal, "public_key": public_key, "role": role, "valid_until": valid_until}
        self._connection.ask("POST", "/api/v1/signers", dict, json_body=body)

    def signers(self) -> list[dict[str, Any]]:
        """Every signer, revoked ones too."""
        return self._connection.ask("GET", "/api/v1/signers", lambda value: list(value["signers"]))

    def revoke_signer(self, principal: str) -> None:
        """Revoke every key of a person."""
        self._connection.send("DELETE", f"/api/v1/signers/{_part(principal)}")

    def add_worker(self, name: str, public_key: str) -> tuple[str, str]:
        """Register a worker with its public key (PEM); its token and key id."""
        body = {"name": name, "public_key": public_key}
        return self._connection.ask(
            "POST",
            "/api/v1/workers",
            lambda value: (str(value["token"]), str(value["key_id"])),
            json_body=body,
        )

    def workers(self) -> list[dict[str, Any]]:
        """Every worker, revoked ones too."""
        return self._connection.ask("GET", "/api/v1/workers", lambda value: list(value["workers"]))

    def revoke_worker(self, name: str) -> None:
        """Revoke a worker."""
        self._connection.send("DELETE", f"/api/v1/workers/{_part(name)}")

    def add_claim(self, name: str, *, is_prefix: bool = False) -> bool:
        """Claim a name or a prefix; whether the claim is new."""
        body = {"name": name, "is_prefix": is_prefix}
        answer = self._connection.send("POST", "/api/v1/claims", json_body=body, may_repeat=True)
        return answer.status == 201

    def _fetch(self, file: ReleaseFile, path: Path) -> None:
        """Write the file's bytes to ``path``, compared with digest and size."""
        answer = self._connection.send("GET", file.url, is_streamed=True)
        digest, size = hashlib.sha256(), 0
        try:
            with path.open("wb") as target:
                for chunk in answer.stream(DOWNLOAD_CHUNK_BYTES):
                    size += len(chunk)
                    if size > file.size_bytes:  # do not fill the disk with what is wrong already
                        break
                    digest.update(chunk)
                    target.write(chunk)
        except HTTPError as error:
            raise StoreUnreachable(f"the download of {file.filename} broke off: {error}") from error
        finally:
            answer.close()
        if size != file.size_bytes or digest.hexdigest() != file.sha256:
            raise StoreUnreachable(
                f"{file.filename} came with other bytes than {file.sha256}",
                hint="is there a proxy in between?",
            )


def _project_path(project: str) -> str:
    return f"/api/v1/projects/{_part(project)}"


def _release_path(project: str, version: str) -> str:
    return f"{_project_path(project)}/releases/{_part(version)}"


def _part(text: str) -> str:
    """One part of a path: a slash in a name must not begin another."""
    return quote(text, safe="")


def _list(names: Sequence[str] | None) -> list[str] | None:
    return None if names is None else list(names)

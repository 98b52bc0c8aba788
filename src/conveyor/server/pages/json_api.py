"""``/{index}/pypi/{project}/json`` and ``/{index}/pypi/{project}/{version}/json``, from the rows of pages."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import TYPE_CHECKING, Any

from conveyor.domain.indexes.json_api import chosen_version, project_document
from conveyor.domain.indexes.policy import reads_whole_page
from conveyor.domain.words.names import canonical_version, project_name
from conveyor.errors import InvalidName, InvalidVersion, NotFound, UpstreamFailed
from conveyor.operations.indexes.definitions import get_index
from conveyor.operations.indexes.files import find_file, read_core_metadata
from conveyor.server.http.messages import JSON, has_already, must_match, root_url, send_answer, send_head
from conveyor.server.http.problems import method_not_allowed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from packaging.utils import NormalizedName
    from starlette.types import Receive, Scope, Send

    from conveyor.domain.indexes.simple_api import PageFile
    from conveyor.domain.people.access import Identity
    from conveyor.operations.store.store import Store
    from conveyor.server.http.auth import Authenticator
    from conveyor.server.mirror.mirroring import Mirroring, PageFinder


class JsonApi:
    """Answers everything below ``/{index}/pypi/``."""

    def __init__(
        self,
        store: Store,
        *,
        pages: PageFinder,
        mirroring: Mirroring,
        authenticator: Authenticator,
        public_url: str | None,
    ) -> None:
        """``public_url``: the store's, with a slash at its end; ``None``: the URL that each request used."""
        self._store = store
        self._pages = pages
        self._mirroring = mirroring
        self._authenticator = authenticator
        self._public_url = public_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; raises NotFound, Unauthorized, Forbidden, UpstreamFailed."""
        if scope["method"] not in ("GET", "HEAD"):
            raise method_not_allowed(scope, "GET", "HEAD")
        # 1. the caller and the request
        identity = await self._authenticator.authenticate(scope, receive)
        scope["state"]["user"] = identity.name or None
        index = await asyncio.to_thread(get_index, self._store, identity, scope["index"])
        project, version = _target(scope)
        # 2. the page
        index = await asyncio.to_thread(get_index, self._store, identity, scope["index"])
        project, version = _target(scope)
        # 2. the page
        reader = None if reads_whole_page(index, identity, project) else identity
        found = await self._pages.find(index.name, project, reader)
        files = found.page.files
        shown = version or chosen_version(files)
        of_release = [file for file in files if file.version == shown]
        if not of_release:  # also of a quarantined project: what is withheld is not described either
            what = f"release {version}" if version is not None else "release"
            raise NotFound(f'there is no {what} of {project} in index "{index.name}"')
        # 3. the release's own metadata
        document = project_document(
            found.page,
            version=shown,
            metadata=await self._metadata(of_release, identity),
            root_url=self._public_url or root_url(scope),
            with_releases=version is None,
        )
        scope["state"]["supplied_by"] = of_release[0].index
        body = json.dumps(document, ensure_ascii=False).encode()
        await _send(scope, send, body, is_private=found.index.is_private)

    async def _metadata(self, files: list[PageFile], identity: Identity) -> Mapping[str, Any]:
        """Core metadata of a release, from the first file that has some; empty if there is no metadata."""
        for file in sorted(files, key=lambda file: not file.filename.endswith(".whl")):
            try:
                found = await asyncio.to_thread(
                    find_file,
                    self._store,
                    file.sha256 or str(file.address),
                    file.filename,
                    reader=identity,
                )
                digest = found.metadata_sha256
                if found.mirrored is not None:
                    digest = await self._mirroring.sidecars.metadata(found.mirrored)
            except (NotFound, UpstreamFailed):  # upstream has none, or the file was deleted just now
                continue
            if digest is not None:
                return await asyncio.to_thread(read_core_metadata, self._store, found, digest)
        return {}


def _target(scope: Scope) -> tuple[NormalizedName, str | None]:
    """(project, canonical version or ``None``); raises NotFound."""
    parts = (scope["rest"] or "").rstrip("/").split("/")
    if parts[-1] != "json" or len(parts) not in (2, 3):
        hint = f"ask for /{scope['index']}/pypi/PROJECT/json"
        raise NotFound(f"there is nothing at {scope['path']}", hint=hint)
    try:
        return project_name(parts[0]), canonical_version(parts[1]) if len(parts) == 3 else None
    except (InvalidName, InvalidVersion) as error:
        raise NotFound(f"there is nothing at {scope['path']}") from error


async def _send(scope: Scope, send: Send, body: bytes, *, is_private: bool) -> None:
    etag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    must_match(scope["headers"], etag)
    common = [
        (b"etag", etag.encode()),
        (b"cache-control", b"private, no-cache" if is_private else b"no-cache"),
    ]
    if has_already(scope["headers"], etag):
        await send_head(send, 304, common)
        return
    await send_answer(send, 200, body, content_type=JSON, headers=common, is_head=scope["method"] == "HEAD")

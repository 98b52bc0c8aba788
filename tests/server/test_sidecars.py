"""What lies beside a file of our own: core metadata and provenance, advertised on pages and served."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sqlalchemy import update

from conveyor.catalog.database.tables import distributions
from conveyor.errors import NotFound
from conveyor.operations.store.store import record_change
from distributions_made import core_metadata, make_sdist, make_wheel
from makers import make_store
from operations.stores_damaged import make_metadata_blobs
from readers import PUBLIC_URL, reading, upload

if TYPE_CHECKING:
    from pathlib import Path

    from conveyor.operations.store.store import Store
    from distributions_made import Made

STATIC = core_metadata(requires=["numpy"], fields=[("Dynamic", "License-File")])
DYNAMIC = core_metadata(requires=["numpy"], fields=[("Dynamic", "Requires-Dist")])
OLD = core_metadata(metadata_version="2.1", requires=["numpy"])
PROVENANCE = json.dumps({"version": 1, "attestation_bundles": []}).encode()


def give_provenance(store: Store, made: Made) -> None:
    """Put a provenance object beside a file, as an upload with attestations does."""
    with store.blobs.adding():
        digest = store.blobs.put(PROVENANCE)
        with record_change(store, actor="admin") as change:
            change.connection.execute(
                update(distributions)
                .where(distributions.c.sha256 == made.sha256)
                .values(provenance_sha256=digest)
            )
            change.event("attest", index="unstable", project="demo", version="1.0")


async def test_metadata_beside_a_wheel_and_a_static_sdist_is_what_the_page_says(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    files = [make_wheel(metadata=STATIC), make_sdist(metadata=STATIC)]
    for made in files:
        upload(store, made)
    async with reading(store) as reader:
        shown = {file["filename"]: file for file in (await reader.page("demo")).json["files"]}
        html = (await reader.get("/unstable/simple/demo/")).body.decode()
        for made in files:
            beside = await reader.get(f"/packages/{made.sha256}/{made.filename}.metadata")
            digest = shown[made.filename]["core-metadata"]["sha256"]
            assert beside.body == STATIC
            assert beside.headers["etag"] == f'"{digest}"'
            assert beside.headers["cache-control"] == "public, max-age=31536000, immutable"
            assert html.count(f'data-core-metadata="sha256={digest}"') == len(files)


async def test_metadata_that_an_older_store_keeps_as_a_blob_is_served_alike(tmp_path: Path) -> None:
    store, made = make_store(tmp_path), make_wheel(metadata=STATIC)
    upload(store, made)
    make_metadata_blobs(store)
    async with reading(store) as reader:
        beside = await reader.get(f"/packages/{made.sha256}/{made.filename}.metadata")
        described = await reader.get("/unstable/pypi/demo/json")
    assert (beside.status, beside.body) == (200, STATIC)
    assert described.json["info"]["requires_dist"] == ["numpy"]


async def test_metadata_of_an_sdist_that_a_build_may_change_is_not_advertised(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    upload(store, make_sdist(metadata=DYNAMIC))
    upload(store, make_sdist(version="1.1", metadata=OLD.replace(b"1.0", b"1.1")))
    async with reading(store) as reader:
        page = await reader.page("demo")
        html = await reader.get("/unstable/simple/demo/")
    assert [file["core-metadata"] for file in page.json["files"]] == [False, False]
    assert b"metadata" not in html.body


async def test_provenance_that_came_is_on_the_next_page_and_beside_the_file(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    wheel = make_wheel()
    upload(store, wheel)
    url = f"/packages/{wheel.sha256}/{wheel.filename}.provenance"
    async with reading(store) as reader:
        before = (await reader.page("demo")).json["files"][0]["provenance"]
        none = await reader.get(url)
        give_provenance(store, wheel)
        page = await reader.page("demo")
        html = await reader.get("/unstable/simple/demo/")
        served = await reader.get(url)
        head = await reader.get(url, method="HEAD")
    assert before is None
    assert isinstance(none.error, NotFound)
    link = PUBLIC_URL + url.removeprefix("/")  # PEP 740: not relative
    assert page.json["files"][0]["provenance"] == link
    assert f'data-provenance="{link}"'.encode() in html.body
    assert served.body == PROVENANCE
    assert served.headers["content-type"] == "application/vnd.pypi.integrity.v1+json"
    assert (head.headers, head.body) == (served.headers, b"")


async def test_provenance_may_grow_so_it_is_asked_for_again_each_time(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    wheel = make_wheel()
    upload(store, wheel)
    give_provenance(store, wheel)
    url = f"/packages/{wheel.sha256}/{wheel.filename}.provenance"
    async with reading(store) as reader:
        served = await reader.get(url)
        same = await reader.get(url, if_none_match=served.headers["etag"])
    assert served.headers["cache-control"] == "public, no-cache"
    assert same.status == 304

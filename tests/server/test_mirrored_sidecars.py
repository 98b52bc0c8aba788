"""Metadata and provenance beside files of a mirror, against a real upstream on loopback."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from conveyor.domain.indexes.mirror import FRESH_FOR
from conveyor.errors import NotFound, UpstreamFailed
from conveyor.upstream.index import PROVENANCE_LIMIT
from distributions_made import Made, core_metadata, make_sdist, make_wheel, zip_of
from mirrors import only_file, packages_path, settled
from upstreams import Served, file_entry

if TYPE_CHECKING:
    from mirrors import Clock
    from readers import Reader
    from upstreams import RunningUpstream

PROVENANCE = json.dumps({"version": 1, "attestation_bundles": []}).encode()


async def test_metadata_is_read_out_of_the_wheel_by_parts(upstream: RunningUpstream, mirror: Reader) -> None:
    metadata = core_metadata(requires=["numpy>=1.20"])
    padding = {f"demo/{number}.bin": bytes([number]) * 60_000 for number in range(20)}
    wheel = make_wheel(metadata=metadata, extra=padding, compression=0)
    upstream.add_html("demo", [wheel])
    before = only_file(await mirror.page("demo"))
    answer = await mirror.get(packages_path(wheel, ".metadata"))
    after = only_file(await mirror.page("demo"))
    assert not mirror.store.blobs.has(wheel.sha256), "the whole wheel was not needed"
    parts = [headers.get("range") for method, _, headers in upstream.requests if method == "GET"]
    assert answer.body == metadata
    assert before["core-metadata"] is True
    assert after["core-metadata"] == {"sha256": answer.headers["etag"].strip('"')}
    assert [part for part in parts if part] == [f"bytes=-{64 * 1024}"]


async def test_metadata_at_the_begin_of_a_large_wheel_is_found_too(
    upstream: RunningUpstream, mirror: Reader
) -> None:
    members = {"demo-1.0.dist-info/METADATA": core_metadata(description="long " * 20_000)}
    members |= {f"demo/{number}.py": bytes([number]) * 10_000 for number in range(30)}
    wheel = Made("demo-1.0-py3-none-any.whl", zip_of(members, compression=0))
    upstream.add_html("demo", [wheel])
    await mirror.page("demo")
    answer = await mirror.get(packages_path(wheel, ".metadata"))
    assert answer.body == members["demo-1.0.dist-info/METADATA"]


async def test_metadata_comes_from_the_whole_wheel_when_there_are_no_parts(
    upstream: RunningUpstream, mirror: Reader
) -> None:
    wheel = make_wheel()
    upstream.add_html("demo", [wheel])
    path = upstream.add_file(wheel, takes_ranges=False)
    await mirror.page("demo")
    answer = await mirror.get(packages_path(wheel, ".metadata"))
    file = await mirror.get(packages_path(wheel))
    assert upstream.asked(path) == 2, "once for a part, once for the whole"
    assert b"Name: demo" in answer.body
    assert file.body == wheel.content


async def test_metadata_that_upstream_has_is_taken_and_checked(
    upstream: RunningUpstream, mirror: Reader
) -> None:
    wheel = make_wheel()
    metadata = core_metadata()
    digest = {"sha256": sha256(metadata).hexdigest()}
    entry = file_entry(upstream, wheel, **{"core-metadata": digest, "size": len(wheel.content)})
    upstream.add_json("demo", [entry])
    path = upstream.add_file(wheel) + ".metadata"
    upstream.paths[path] = Served(b"Name: evil\n")
    page = only_file(await mirror.page("demo"))
    url = packages_path(wheel, ".metadata")
    bad = await mirror.get(url)
    upstream.paths[path] = Served(metadata)
    good = await mirror.get(url)
    assert page["core-metadata"] == digest
    assert isinstance(bad.error, UpstreamFailed)
    assert good.body == metadata


async def test_sdist_without_metadata_beside_it_advertises_none(
    upstream: RunningUpstream, mirror: Reader
) -> None:
    sdist = make_sdist()
    upstream.add_html("demo", [sdist])
    file = only_file(await mirror.page("demo"))
    answer = await mirror.get(packages_path(sdist, ".metadata"))
    assert file["core-metadata"] is False
    assert isinstance(answer.error, NotFound)


async def test_metadata_that_cannot_be_read_is_no_longer_advertised_nor_asked_for(
    upstream: RunningUpstream, mirror: Reader, clock: Clock
) -> None:
    wheel = Made("demo-1.0-py3-none-any.whl", zip_of({"demo/__init__.py": b""}))
    upstream.add_html("demo", [wheel])
    before = only_file(await mirror.page("demo"))
    first = await mirror.get(packages_path(wheel, ".metadata"))
    after = only_file(await mirror.page("demo"))
    asked = len(upstream.requests)
    second = await mirror.get(packages_path(wheel, ".metadata"))
    assert len(upstream.requests) == asked
    clock.pass_by(FRESH_FOR)
    upstream.add_html("demo", [wheel], attributes=' data-yanked="bad"')
    later = only_file(await mirror.page("demo"))
    assert before["core-metadata"] is True
    assert isinstance(first.error, NotFound)
    assert isinstance(second.error, NotFound)
    assert after["core-metadata"] is False
    assert later["core-metadata"] is False, "another page with the same bytes changes nothing of that"


async def test_wheel_whose_server_fails_stays_advertised(upstream: RunningUpstream, mirror: Reader) -> None:
    wheel = make_wheel()
    upstream.add_html("demo", [wheel])
    path = upstream.add_file(wheel)
    await mirror.page("demo")
    upstream.paths[path] = Served(status=500)
    failed = await mirror.get(packages_path(wheel, ".metadata"))
    page = only_file(await mirror.page("demo"))
    assert isinstance(failed.error, UpstreamFailed)
    assert page["core-metadata"] is True


@pytest.mark.parametrize("form", ["json", "html"])
async def test_metadata_that_upstream_has_beside_an_sdist_is_passed_on(
    upstream: RunningUpstream, mirror: Reader, form: str
) -> None:
    sdist, metadata = make_sdist(), core_metadata()
    digest = sha256(metadata).hexdigest()
    if form == "json":
        entry = file_entry(upstream, sdist, **{"core-metadata": {"sha256": digest}})
        upstream.add_json("demo", [entry])
    else:
        upstream.add_html("demo", [sdist], attributes=f' data-core-metadata="sha256={digest}"')
    path = upstream.add_file(sdist)
    upstream.paths[f"{path}.metadata"] = Served(metadata)
    page = only_file(await mirror.page("demo"))
    answer = await mirror.get(packages_path(sdist, ".metadata"))
    assert upstream.asked(path) == 0, "the sdist itself is not fetched for it"
    assert page["core-metadata"] == {"sha256": digest}
    assert answer.body == metadata


async def test_metadata_of_another_digest_than_the_page_of_an_sdist_says_is_refused(
    upstream: RunningUpstream, mirror: Reader
) -> None:
    sdist = make_sdist()
    upstream.add_json("demo", [file_entry(upstream, sdist, **{"core-metadata": {"sha256": "ab" * 32}})])
    upstream.paths[upstream.add_file(sdist) + ".metadata"] = Served(core_metadata())
    await mirror.page("demo")
    answer = await mirror.get(packages_path(sdist, ".metadata"))
    assert not mirror.store.blobs.has(sha256(core_metadata()).hexdigest())
    assert isinstance(answer.error, UpstreamFailed)


async def test_metadata_that_upstream_promised_beside_an_sdist_and_has_not_is_no_longer_advertised(
    upstream: RunningUpstream, mirror: Reader
) -> None:
    sdist = make_sdist()
    upstream.add_json("demo", [file_entry(upstream, sdist, **{"core-metadata": True})])
    before = only_file(await mirror.page("demo"))
    answer = await mirror.get(packages_path(sdist, ".metadata"))
    after = only_file(await mirror.page("demo"))
    assert (before["core-metadata"], after["core-metadata"]) == (True, False)
    assert isinstance(answer.error, NotFound)


@pytest.mark.parametrize(
    ("metadata", "is_static"),
    [
        (core_metadata(metadata_version="2.2"), True),
        (core_metadata(metadata_version="2.2", fields=[("Dynamic", "Requires-Dist")]), False),
        (core_metadata(metadata_version="2.1"), False),
        (core_metadata(version="9.9", metadata_version="2.2"), False),
    ],
    ids=["static", "dynamic", "old", "of another version"],
)
async def test_stored_sdist_offers_its_own_metadata_when_building_cannot_change_it(
    upstream: RunningUpstream, mirror: Reader, metadata: bytes, is_static: bool
) -> None:
    sdist = make_sdist(metadata=metadata)
    upstream.add_html("demo", [sdist])
    before = only_file(await mirror.page("demo"))
    await mirror.get(packages_path(sdist))
    await settled()
    after = only_file(await mirror.page("demo"))
    answer = await mirror.get(packages_path(sdist, ".metadata"))
    assert before["core-metadata"] is False
    if is_static:
        assert after["core-metadata"] == {"sha256": sha256(metadata).hexdigest()}
        assert answer.body == metadata
    else:
        assert after["core-metadata"] is False
        assert isinstance(answer.error, NotFound)


@pytest.mark.parametrize("form", ["json", "html"])
async def test_provenance_is_advertised_here_fetched_when_asked_for_and_kept(
    upstream: RunningUpstream, mirror: Reader, form: str
) -> None:
    wheel = make_wheel()
    url = f"{upstream.root}/integrity/demo"
    upstream.paths["/integrity/demo"] = Served(PROVENANCE)
    if form == "json":
        upstream.add_json("demo", [file_entry(upstream, wheel, provenance=url)], version="1.3")
    else:
        upstream.add_html("demo", [wheel], attributes=f' data-provenance="{url}"')
    page = only_file(await mirror.page("demo"))
    html = await mirror.get("/unstable/simple/demo/", accept="text/html")
    assert upstream.asked("/integrity/demo") == 0
    first = await mirror.get(packages_path(wheel, ".provenance"))
    second = await mirror.get(packages_path(wheel, ".provenance"))
    assert upstream.asked("/integrity/demo") == 1
    here = f"packages/{wheel.sha256}/{wheel.filename}.provenance"
    assert page["provenance"].endswith(here)
    assert f'{here}"'.encode() in html.body
    assert first.body == second.body == PROVENANCE
    assert first.headers["content-type"] == "application/vnd.pypi.integrity.v1+json"
    assert first.headers["cache-control"] == "public, no-cache"


@pytest.mark.parametrize(
    ("served", "error"),
    [
        (Served(status=404), NotFound),
        (Served(b"<html>log in</html>"), UpstreamFailed),
        (Served(b"[1, 2]"), UpstreamFailed),
        (Served(b" " * (PROVENANCE_LIMIT.size_bytes + 1)), UpstreamFailed),
        (Served(status=500), UpstreamFailed),
    ],
    ids=["none", "no JSON", "no object", "too large", "error"],
)
async def test_provenance_that_is_none_is_not_kept(
    upstream: RunningUpstream, mirror: Reader, served: Served, error: type[Exception]
) -> None:
    wheel = make_wheel()
    url = f"{upstream.root}/integrity/demo"
    upstream.add_json("demo", [file_entry(upstream, wheel, provenance=url)], version="1.3")
    upstream.paths["/integrity/demo"] = served
    await mirror.page("demo")
    bad = await mirror.get(packages_path(wheel, ".provenance"))
    upstream.paths["/integrity/demo"] = Served(PROVENANCE)
    good = await mirror.get(packages_path(wheel, ".provenance"))
    assert isinstance(bad.error, error)
    assert good.body == PROVENANCE


async def test_provenance_at_another_address_is_fetched_anew(
    upstream: RunningUpstream, mirror: Reader, clock: Clock
) -> None:
    wheel, newer = make_wheel(), PROVENANCE.replace(b"[]", b"[{}]")
    for path, content in (("/old", PROVENANCE), ("/new", newer)):
        upstream.paths[path] = Served(content)
    found = []
    for path in ("/old", "/new"):
        entry = file_entry(upstream, wheel, provenance=upstream.root + path)
        upstream.add_json("demo", [entry], version="1.3")
        await mirror.page("demo")
        found.append((await mirror.get(packages_path(wheel, ".provenance"))).body)
        clock.pass_by(FRESH_FOR)
    assert found == [PROVENANCE, newer]


async def test_file_without_provenance_advertises_none(upstream: RunningUpstream, mirror: Reader) -> None:
    wheel = make_wheel()
    upstream.add_html("demo", [wheel])
    page = only_file(await mirror.page("demo"))
    answer = await mirror.get(packages_path(wheel, ".provenance"))
    assert page["provenance"] is None
    assert isinstance(answer.error, NotFound)

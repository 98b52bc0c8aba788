"""Metadata and provenance beside files of a mirror, against a real upstream on loopback."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from conveyor.domain.mirror import FRESH_FOR
from conveyor.errors import NotFound, UpstreamFailed
from conveyor.upstream.index import PROVENANCE_LIMIT_BYTES
from distributions_made import Made, core_metadata, make_sdist, make_wheel, zip_of
from mirrors import Clock, mirroring, only_file, packages_path, run, settled
from upstreams import Served, file_entry, running_upstream

if TYPE_CHECKING:
    from pathlib import Path

PROVENANCE = json.dumps({"version": 1, "attestation_bundles": []}).encode()


def test_metadata_is_read_out_of_the_wheel_by_parts(tmp_path: Path) -> None:
    async def scenario() -> None:
        metadata = core_metadata(requires=["numpy>=1.20"])
        padding = {f"demo/{number}.bin": bytes([number]) * 60_000 for number in range(20)}
        wheel = make_wheel(metadata=metadata, extra=padding, compression=0)
        with running_upstream() as upstream:
            upstream.add_html("demo", [wheel])
            async with mirroring(tmp_path, upstream) as reader:
                before = only_file(await reader.page("demo"))
                answer = await reader.get(packages_path(wheel, ".metadata"))
                after = only_file(await reader.page("demo"))
                assert not reader.store.blobs.has(wheel.sha256), "the whole wheel was not needed"
            parts = [headers.get("range") for method, _, headers in upstream.requests if method == "GET"]
        assert answer.body == metadata
        assert before["core-metadata"] is True
        assert after["core-metadata"] == {"sha256": answer.headers["etag"].strip('"')}
        assert [part for part in parts if part] == [f"bytes=-{64 * 1024}"]

    run(scenario())


def test_metadata_at_the_begin_of_a_large_wheel_is_found_too(tmp_path: Path) -> None:
    async def scenario() -> None:
        members = {"demo-1.0.dist-info/METADATA": core_metadata(description="long " * 20_000)}
        members |= {f"demo/{number}.py": bytes([number]) * 10_000 for number in range(30)}
        wheel = Made("demo-1.0-py3-none-any.whl", zip_of(members, compression=0))
        with running_upstream() as upstream:
            upstream.add_html("demo", [wheel])
            async with mirroring(tmp_path, upstream) as reader:
                await reader.page("demo")
                answer = await reader.get(packages_path(wheel, ".metadata"))
        assert answer.body == members["demo-1.0.dist-info/METADATA"]

    run(scenario())


def test_metadata_comes_from_the_whole_wheel_when_there_are_no_parts(tmp_path: Path) -> None:
    async def scenario() -> None:
        wheel = make_wheel()
        with running_upstream() as upstream:
            upstream.add_html("demo", [wheel])
            path = upstream.add_file(wheel, takes_ranges=False)
            async with mirroring(tmp_path, upstream) as reader:
                await reader.page("demo")
                answer = await reader.get(packages_path(wheel, ".metadata"))
                file = await reader.get(packages_path(wheel))
            assert upstream.asked(path) == 2, "once for a part, once for the whole"
        assert b"Name: demo" in answer.body
        assert file.body == wheel.content

    run(scenario())


def test_metadata_that_upstream_has_is_taken_and_checked(tmp_path: Path) -> None:
    async def scenario() -> None:
        wheel = make_wheel()
        metadata = core_metadata()
        with running_upstream() as upstream:
            digest = {"sha256": sha256(metadata).hexdigest()}
            entry = file_entry(upstream, wheel, **{"core-metadata": digest, "size": len(wheel.content)})
            upstream.add_json("demo", [entry])
            path = upstream.add_file(wheel) + ".metadata"
            upstream.paths[path] = Served(b"Name: evil\n")
            async with mirroring(tmp_path, upstream) as reader:
                page = only_file(await reader.page("demo"))
                url = packages_path(wheel, ".metadata")
                bad = await reader.get(url)
                upstream.paths[path] = Served(metadata)
                good = await reader.get(url)
        assert page["core-metadata"] == digest
        assert isinstance(bad.error, UpstreamFailed)
        assert good.body == metadata

    run(scenario())


def test_sdist_without_metadata_beside_it_advertises_none(tmp_path: Path) -> None:
    async def scenario() -> None:
        sdist = make_sdist()
        with running_upstream() as upstream:
            upstream.add_html("demo", [sdist])
            async with mirroring(tmp_path, upstream) as reader:
                file = only_file(await reader.page("demo"))
                answer = await reader.get(packages_path(sdist, ".metadata"))
        assert file["core-metadata"] is False
        assert isinstance(answer.error, NotFound)

    run(scenario())


def test_metadata_that_can_not_be_read_is_no_longer_advertised_nor_asked_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = Clock()
        wheel = Made("demo-1.0-py3-none-any.whl", zip_of({"demo/__init__.py": b""}))
        with running_upstream() as upstream:
            upstream.add_html("demo", [wheel])
            async with mirroring(tmp_path, upstream, clock=clock) as reader:
                before = only_file(await reader.page("demo"))
                first = await reader.get(packages_path(wheel, ".metadata"))
                after = only_file(await reader.page("demo"))
                asked = len(upstream.requests)
                second = await reader.get(packages_path(wheel, ".metadata"))
                assert len(upstream.requests) == asked
                clock.pass_by(FRESH_FOR)
                upstream.add_html("demo", [wheel], attributes=' data-yanked="bad"')
                later = only_file(await reader.page("demo"))
        assert before["core-metadata"] is True
        assert isinstance(first.error, NotFound)
        assert isinstance(second.error, NotFound)
        assert after["core-metadata"] is False
        assert later["core-metadata"] is False, "another page with the same bytes changes nothing of that"

    run(scenario())


def test_wheel_whose_server_fails_stays_advertised(tmp_path: Path) -> None:
    async def scenario() -> None:
        wheel = make_wheel()
        with running_upstream() as upstream:
            upstream.add_html("demo", [wheel])
            path = upstream.add_file(wheel)
            async with mirroring(tmp_path, upstream) as reader:
                await reader.page("demo")
                upstream.paths[path] = Served(status=500)
                failed = await reader.get(packages_path(wheel, ".metadata"))
                page = only_file(await reader.page("demo"))
        assert isinstance(failed.error, UpstreamFailed)
        assert page["core-metadata"] is True

    run(scenario())


@pytest.mark.parametrize("form", ["json", "html"])
def test_metadata_that_upstream_has_beside_an_sdist_is_passed_on(tmp_path: Path, form: str) -> None:
    async def scenario() -> None:
        sdist, metadata = make_sdist(), core_metadata()
        digest = sha256(metadata).hexdigest()
        with running_upstream() as upstream:
            if form == "json":
                entry = file_entry(upstream, sdist, **{"core-metadata": {"sha256": digest}})
                upstream.add_json("demo", [entry])
            else:
                upstream.add_html("demo", [sdist], attributes=f' data-core-metadata="sha256={digest}"')
            path = upstream.add_file(sdist)
            upstream.paths[f"{path}.metadata"] = Served(metadata)
            async with mirroring(tmp_path, upstream) as reader:
                page = only_file(await reader.page("demo"))
                answer = await reader.get(packages_path(sdist, ".metadata"))
            assert upstream.asked(path) == 0, "the sdist itself is not fetched for it"
        assert page["core-metadata"] == {"sha256": digest}
        assert answer.body == metadata

    run(scenario())


def test_metadata_of_another_digest_than_the_page_of_an_sdist_says_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        sdist = make_sdist()
        with running_upstream() as upstream:
            upstream.add_json(
                "demo", [file_entry(upstream, sdist, **{"core-metadata": {"sha256": "ab" * 32}})]
            )
            upstream.paths[upstream.add_file(sdist) + ".metadata"] = Served(core_metadata())
            async with mirroring(tmp_path, upstream) as reader:
                await reader.page("demo")
                answer = await reader.get(packages_path(sdist, ".metadata"))
                assert not reader.store.blobs.has(sha256(core_metadata()).hexdigest())
        assert isinstance(answer.error, UpstreamFailed)

    run(scenario())


def test_metadata_that_upstream_promised_beside_an_sdist_and_has_not_is_no_longer_advertised(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        sdist = make_sdist()
        with running_upstream() as upstream:
            upstream.add_json("demo", [file_entry(upstream, sdist, **{"core-metadata": True})])
            async with mirroring(tmp_path, upstream) as reader:
                before = only_file(await reader.page("demo"))
                answer = await reader.get(packages_path(sdist, ".metadata"))
                after = only_file(await reader.page("demo"))
        assert (before["core-metadata"], after["core-metadata"]) == (True, False)
        assert isinstance(answer.error, NotFound)

    run(scenario())


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
def test_stored_sdist_offers_its_own_metadata_when_building_can_not_change_it(
    tmp_path: Path, metadata: bytes, is_static: bool
) -> None:
    async def scenario() -> None:
        sdist = make_sdist(metadata=metadata)
        with running_upstream() as upstream:
            upstream.add_html("demo", [sdist])
            async with mirroring(tmp_path, upstream) as reader:
                before = only_file(await reader.page("demo"))
                await reader.get(packages_path(sdist))
                await settled()
                after = only_file(await reader.page("demo"))
                answer = await reader.get(packages_path(sdist, ".metadata"))
        assert before["core-metadata"] is False
        if is_static:
            assert after["core-metadata"] == {"sha256": sha256(metadata).hexdigest()}
            assert answer.body == metadata
        else:
            assert after["core-metadata"] is False
            assert isinstance(answer.error, NotFound)

    run(scenario())


@pytest.mark.parametrize("form", ["json", "html"])
def test_provenance_is_advertised_here_fetched_when_asked_for_and_kept(tmp_path: Path, form: str) -> None:
    async def scenario() -> None:
        wheel = make_wheel()
        with running_upstream() as upstream:
            url = f"{upstream.root}/integrity/demo"
            upstream.paths["/integrity/demo"] = Served(PROVENANCE)
            if form == "json":
                upstream.add_json("demo", [file_entry(upstream, wheel, provenance=url)], version="1.3")
            else:
                upstream.add_html("demo", [wheel], attributes=f' data-provenance="{url}"')
            async with mirroring(tmp_path, upstream) as reader:
                page = only_file(await reader.page("demo"))
                html = await reader.get("/unstable/simple/demo/", accept="text/html")
                assert upstream.asked("/integrity/demo") == 0
                first = await reader.get(packages_path(wheel, ".provenance"))
                second = await reader.get(packages_path(wheel, ".provenance"))
            assert upstream.asked("/integrity/demo") == 1
        here = f"packages/{wheel.sha256}/{wheel.filename}.provenance"
        assert page["provenance"].endswith(here)
        assert f'{here}"'.encode() in html.body
        assert first.body == second.body == PROVENANCE
        assert first.headers["content-type"] == "application/vnd.pypi.integrity.v1+json"
        assert first.headers["cache-control"] == "public, no-cache"

    run(scenario())


@pytest.mark.parametrize(
    ("served", "error"),
    [
        (Served(status=404), NotFound),
        (Served(b"<html>log in</html>"), UpstreamFailed),
        (Served(b"[1, 2]"), UpstreamFailed),
        (Served(b" " * (PROVENANCE_LIMIT_BYTES + 1)), UpstreamFailed),
        (Served(status=500), UpstreamFailed),
    ],
    ids=["none", "no JSON", "no object", "too large", "error"],
)
def test_provenance_that_is_none_is_not_kept(tmp_path: Path, served: Served, error: type[Exception]) -> None:
    async def scenario() -> None:
        wheel = make_wheel()
        with running_upstream() as upstream:
            url = f"{upstream.root}/integrity/demo"
            upstream.add_json("demo", [file_entry(upstream, wheel, provenance=url)], version="1.3")
            upstream.paths["/integrity/demo"] = served
            async with mirroring(tmp_path, upstream) as reader:
                await reader.page("demo")
                bad = await reader.get(packages_path(wheel, ".provenance"))
                upstream.paths["/integrity/demo"] = Served(PROVENANCE)
                good = await reader.get(packages_path(wheel, ".provenance"))
        assert isinstance(bad.error, error)
        assert good.body == PROVENANCE

    run(scenario())


def test_provenance_at_another_address_is_fetched_anew(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = Clock()
        wheel, newer = make_wheel(), PROVENANCE.replace(b"[]", b"[{}]")
        with running_upstream() as upstream:
            for path, content in (("/old", PROVENANCE), ("/new", newer)):
                upstream.paths[path] = Served(content)
            async with mirroring(tmp_path, upstream, clock=clock) as reader:
                found = []
                for path in ("/old", "/new"):
                    entry = file_entry(upstream, wheel, provenance=upstream.root + path)
                    upstream.add_json("demo", [entry], version="1.3")
                    await reader.page("demo")
                    found.append((await reader.get(packages_path(wheel, ".provenance"))).body)
                    clock.pass_by(FRESH_FOR)
        assert found == [PROVENANCE, newer]

    run(scenario())


def test_file_without_provenance_advertises_none(tmp_path: Path) -> None:
    async def scenario() -> None:
        wheel = make_wheel()
        with running_upstream() as upstream:
            upstream.add_html("demo", [wheel])
            async with mirroring(tmp_path, upstream) as reader:
                page = only_file(await reader.page("demo"))
                answer = await reader.get(packages_path(wheel, ".provenance"))
        assert page["provenance"] is None
        assert isinstance(answer.error, NotFound)

    run(scenario())

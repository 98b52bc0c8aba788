"""What pages of a mirror say, read through the server's handlers, against a real upstream on loopback."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conveyor.catalog.database.events import events_since
from conveyor.domain.indexes.mirror import FRESH_FOR
from conveyor.errors import Forbidden, NotFound, UpstreamFailed
from conveyor.operations.indexes.claims import claim_name
from conveyor.operations.store.store import read
from distributions_made import core_metadata, make_wheel
from mirrors import only_file, packages_path
from readers import ADMINISTRATOR, upload
from upstreams import Served, file_entry

if TYPE_CHECKING:
    from mirrors import Clock
    from readers import Reader
    from upstreams import RunningUpstream

FIRST_SEEN = "_upload-time-is-first-seen"


async def test_page_of_an_html_upstream_without_sizes_and_times_has_both(
    upstream: RunningUpstream, mirror: Reader
) -> None:
    wheel = make_wheel()
    upstream.add_html("demo", [wheel])
    answer = await mirror.page("demo")
    file = only_file(answer)
    assert file["size"] == len(wheel.content)
    assert file["upload-time"] == "2026-11-21T08:00:00.000000Z"
    assert file[FIRST_SEEN] is True
    assert file["hashes"] == {"sha256": wheel.sha256}
    assert file["url"] == f"../../../packages/{wheel.sha256}/{wheel.filename}"
    assert file["core-metadata"] is True
    assert answer.json["versions"] == ["1.0"]
    assert answer.state["supplied_by"] == "pypi"


async def test_first_seen_time_stays_when_the_page_is_fetched_again(
    upstream: RunningUpstream, mirror: Reader, clock: Clock
) -> None:
    upstream.add_html("demo", [make_wheel()])
    before = only_file(await mirror.page("demo"))
    clock.pass_by(FRESH_FOR)
    upstream.add_html("demo", [make_wheel()], attributes=' data-requires-python="&gt;=3.11"')
    after = only_file(await mirror.page("demo"))
    assert after["requires-python"] == ">=3.11"
    assert after["upload-time"] == before["upload-time"]
    assert after[FIRST_SEEN] is True


async def test_last_modified_of_the_file_is_the_upload_time_when_the_page_names_none(
    upstream: RunningUpstream, mirror: Reader
) -> None:
    wheel = make_wheel()
    upstream.add_html("demo", [wheel])
    upstream.add_file(wheel, headers={"Last-Modified": "Tue, 02 Jun 2020 10:00:00 GMT"})
    file = only_file(await mirror.page("demo"))
    assert file["upload-time"] == "2020-06-02T10:00:00.000000Z"
    assert FIRST_SEEN not in file


async def test_upload_time_in_html_that_no_standard_names_is_kept(
    upstream: RunningUpstream, mirror: Reader
) -> None:
    upstream.add_html("demo", [make_wheel()], attributes=' data-upload-time="2019-06-03T13:48:34.9Z"')
    file = only_file(await mirror.page("demo"))
    assert file["upload-time"] == "2019-06-03T13:48:34.900000Z"


async def test_everything_that_a_json_upstream_says_is_passed_on(
    upstream: RunningUpstream, mirror: Reader
) -> None:
    wheel = make_wheel()
    entry = file_entry(
        upstream,
        wheel,
        **{
            "size": len(wheel.content),
            "upload-time": "2024-05-06T07:08:09.123456Z",
            "requires-python": ">=3.9,<4",
            "yanked": 'broken & "late" <b>',
            "core-metadata": {"sha256": "ab" * 32},
        },
    )
    upstream.add_json("demo", [entry])
    answer = await mirror.page("demo")
    html = await mirror.get("/unstable/simple/demo/", accept="text/html")
    assert not [method for method, _, _ in upstream.requests if method == "HEAD"]
    file = only_file(answer)
    assert file["size"] == len(wheel.content)
    assert file["upload-time"] == "2024-05-06T07:08:09.123456Z"
    assert file["requires-python"] == ">=3.9,<4"
    assert file["yanked"] == 'broken & "late" <b>'
    assert file["core-metadata"] == {"sha256": "ab" * 32}
    assert b'data-yanked="broken &amp; &quot;late&quot; &lt;b&gt;"' in html.body


async def test_wrong_size_on_a_page_of_upstream_is_put_right_by_the_download(
    upstream: RunningUpstream, mirror: Reader, clock: Clock
) -> None:
    """Installers ignore it; a lock that was exported from such a page refuses the file."""
    wheel = make_wheel()
    upstream.add_json("demo", [file_entry(upstream, wheel, size=1)])
    assert only_file(await mirror.page("demo"))["size"] == 1
    assert (await mirror.get(packages_path(wheel))).body == wheel.content
    assert only_file(await mirror.page("demo"))["size"] == len(wheel.content)
    clock.pass_by(FRESH_FOR)
    assert only_file(await mirror.page("demo"))["size"] == len(wheel.content)


async def test_wrong_size_of_a_file_without_a_hash_refuses_it(
    upstream: RunningUpstream, mirror: Reader
) -> None:
    wheel = make_wheel()
    upstream.add_json("demo", [{**file_entry(upstream, wheel, size=1), "hashes": {}}])
    await mirror.page("demo")
    answer = await mirror.get(f"/packages/unhashed/demo/{wheel.filename}")
    assert isinstance(answer.error, UpstreamFailed)
    assert "but announced 1" in answer.error.message


async def test_file_server_without_head_leaves_sizes_out(upstream: RunningUpstream, mirror: Reader) -> None:
    wheel = make_wheel()
    upstream.add_html("demo", [wheel])
    upstream.add_file(wheel, takes_head=False)
    file = only_file(await mirror.page("demo"))
    assert "size" not in file


async def test_redirect_of_a_page_is_followed_and_its_links_are_relative_to_where_it_is(
    upstream: RunningUpstream, mirror: Reader
) -> None:
    wheel = make_wheel()
    upstream.add_html("deep", [wheel])
    upstream.paths["/elsewhere/index/deep/"] = upstream.paths.pop("/simple/deep/")
    upstream.paths["/elsewhere/files/" + upstream.add_file(wheel).removeprefix("/files/")] = Served(
        wheel.content
    )
    upstream.paths["/simple/deep/"] = Served(status=302, headers={"Location": "/elsewhere/index/deep/"})
    await mirror.page("deep")
    file = await mirror.get(packages_path(wheel))
    assert upstream.asked(f"/elsewhere/files/{wheel.sha256[:8]}/{wheel.filename}") == 1
    assert file.body == wheel.content


async def test_claimed_name_never_asks_upstream(upstream: RunningUpstream, mirror: Reader) -> None:
    own = make_wheel("demo", "1.0")
    upstream.add_html("demo", [make_wheel("demo", "99.0")])
    upstream.add_html("risk-score", [make_wheel("risk-score", "99.0")])
    upload(mirror.store, own)
    claim_name(mirror.store, ADMINISTRATOR, "risk", is_prefix=True)
    page = await mirror.page("demo")
    prefixed = await mirror.page("risk-score")
    assert upstream.requests == []
    assert page.json["versions"] == ["1.0"]
    assert page.state["supplied_by"] == "unstable"
    assert isinstance(prefixed.error, NotFound)


async def test_name_claimed_later_hides_what_was_mirrored_before(
    upstream: RunningUpstream, mirror: Reader
) -> None:
    wheel = make_wheel("risk-score", "1.0")
    upstream.add_html("risk-score", [wheel])
    before = await mirror.page("risk-score")
    claim_name(mirror.store, ADMINISTRATOR, "risk", is_prefix=True)
    after = await mirror.page("risk-score")
    file = await mirror.get(packages_path(wheel))
    assert before.status == 200
    assert isinstance(after.error, NotFound)
    assert isinstance(file.error, NotFound)


async def test_json_api_of_a_mirrored_project_describes_its_newest_final_release(
    upstream: RunningUpstream, mirror: Reader
) -> None:
    metadata = core_metadata(version="1.0", requires=["numpy"], fields=[("Summary", "a demo")])
    files = [make_wheel(version="1.0", metadata=metadata), make_wheel(version="2.0rc1")]
    upstream.add_html("demo", files)
    answer = await mirror.get("/unstable/pypi/demo/json", host="store.example")
    release = await mirror.get("/unstable/pypi/demo/2.0RC1/json", host="store.example")
    missing = await mirror.get("/unstable/pypi/demo/3.0/json")
    document = answer.json
    assert document["info"]["version"] == "1.0"
    assert document["info"]["summary"] == "a demo"
    assert document["info"]["requires_dist"] == ["numpy"]
    assert list(document["releases"]) == ["1.0", "2.0rc1"]
    assert (
        document["urls"][0]["url"] == f"http://store.example/packages/{files[0].sha256}/{files[0].filename}"
    )
    assert release.json["info"]["version"] == "2.0rc1"
    assert "releases" not in release.json
    assert isinstance(missing.error, NotFound)


async def test_what_a_mirror_brings_stands_in_the_audit_log(
    upstream: RunningUpstream, mirror: Reader
) -> None:
    wheel = make_wheel()
    upstream.add_html("demo", [wheel])
    await mirror.page("demo")
    await mirror.get(packages_path(wheel, ".metadata"))
    await mirror.get(packages_path(wheel))
    with read(mirror.store) as connection:
        events = events_since(connection, 0)
    mirrored = [(event.action, event.index, event.project) for event in events if event.actor == "mirror"]
    assert mirrored == [
        ("mirror-page", "pypi", "demo"),
        ("mirror-sizes", "pypi", "demo"),
        ("mirror-metadata", "pypi", "demo"),
        ("mirror-file", "pypi", "demo"),
    ]


@pytest.mark.parametrize("is_stored", [True, False])
async def test_file_that_upstream_no_longer_has_leaves_the_page_stored_or_not(
    upstream: RunningUpstream, mirror: Reader, clock: Clock, is_stored: bool
) -> None:
    """A file is taken down for a reason; who wants to keep one uploads it under a name of this store."""
    old, new = make_wheel(version="1.0"), make_wheel(version="2.0")
    upstream.add_html("demo", [old, new])
    before = await mirror.page("demo")
    if is_stored:
        await mirror.get(packages_path(old))
    clock.pass_by(FRESH_FOR)
    upstream.add_html("demo", [new])
    after = await mirror.page("demo")
    gone = await mirror.get(packages_path(old))
    assert before.json["versions"] == ["1.0", "2.0"]
    assert after.json["versions"] == ["2.0"]
    assert isinstance(gone.error, NotFound)


async def test_status_that_upstream_gives_a_project_is_passed_on_and_taken_back(
    upstream: RunningUpstream, mirror: Reader, clock: Clock
) -> None:
    files = [file_entry(upstream, make_wheel())]
    status = {"project-status": {"status": "deprecated", "reason": 'use "demo2" & <b>'}}
    upstream.add_json("demo", files, version="1.4", more=status)
    before = await mirror.page("demo")
    html = await mirror.get("/unstable/simple/demo/", accept="text/html")
    clock.pass_by(FRESH_FOR)
    upstream.add_json("demo", files, version="1.4")
    after = await mirror.page("demo")
    assert before.json["project-status"] == status["project-status"]
    assert b'content="use &quot;demo2&quot; &amp; &lt;b&gt;"' in html.body
    assert after.json["project-status"] == {"status": "active"}


async def test_status_in_html_is_passed_on(upstream: RunningUpstream, mirror: Reader) -> None:
    head = (
        '<meta name="pypi:project-status" content="archived">'
        '<meta name="pypi:project-status-reason" content="done &amp; dusted">'
    )
    upstream.add_html("demo", [make_wheel()], head=head)
    page = await mirror.page("demo")
    assert page.json["project-status"] == {"status": "archived", "reason": "done & dusted"}


async def test_project_that_upstream_quarantined_offers_no_files_by_page_or_address(
    upstream: RunningUpstream, mirror: Reader
) -> None:
    wheel = make_wheel()
    more = {"project-status": {"status": "quarantined"}}
    upstream.add_json("demo", [file_entry(upstream, wheel)], version="1.4", more=more)
    page = await mirror.page("demo")
    file = await mirror.get(packages_path(wheel))
    assert page.json["files"] == []
    assert isinstance(file.error, Forbidden)
    assert page.json["project-status"] == {"status": "quarantined"}

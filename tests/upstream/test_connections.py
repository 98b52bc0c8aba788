"""Where an upstream may lead: addresses, redirects, schemes, credentials."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest
from packaging.utils import canonicalize_name

from conveyor.domain.indexes.mirror import UpstreamPage
from conveyor.errors import UpstreamFailed
from conveyor.upstream import Upstream
from conveyor.upstream.connections import MOST_REDIRECTS
from distributions_made import make_wheel
from mirrors import mirrored_file
from upstreams import Served, running_upstream

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping
    from pathlib import Path

    from upstreams import RunningUpstream

DEMO = canonicalize_name("demo")
WHEEL = make_wheel()
A_PUBLIC_INDEX = "http://8.8.8.8/simple/"
"""Nothing is sent there: each test leads elsewhere before."""


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests connect directly, whatever the environment says."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def answer_names(monkeypatch: pytest.MonkeyPatch, answers: Mapping[str, list[str]]) -> None:
    """Let names lead to addresses, the next one at each look-up; the last one stays."""
    genuine = socket.getaddrinfo

    def look_up(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name in answers:
            host = answers[name].pop(0) if len(answers[name]) > 1 else answers[name][0]
        return genuine(host, port, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
async def test_public_upstream_leads_nowhere_inside(host: str) -> None:
    with running_upstream() as inside:
        link = inside.root.replace("127.0.0.1", host) + inside.add_file(WHEEL)
        upstream = Upstream(A_PUBLIC_INDEX)
        with pytest.raises(UpstreamFailed, match="inside this network"):
            await upstream.file_facts(mirrored_file(WHEEL, link))
        await upstream.close()
        assert inside.requests == []


@pytest.mark.parametrize("address", ["169.254.169.254", "10.0.0.1", "[fe80::1]", "192.168.0.1:8080"])
async def test_redirect_of_an_upstream_on_loopback_leads_to_no_other_place_inside(
    index: RunningUpstream, address: str
) -> None:
    index.paths["/simple/demo/"] = Served(status=302, headers={"Location": f"http://{address}/"})
    upstream = Upstream(index.url)
    with pytest.raises(UpstreamFailed, match="inside this network"):
        await upstream.fetch_page(DEMO)
    await upstream.close()


async def test_name_that_leads_inside_is_not_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_upstream() as inside:
        answer_names(monkeypatch, {"files.example": ["127.0.0.1"]})
        link = inside.root.replace("127.0.0.1", "files.example") + inside.add_file(WHEEL)
        upstream = Upstream(A_PUBLIC_INDEX)
        with pytest.raises(UpstreamFailed, match="inside this network"):
            await upstream.file_facts(mirrored_file(WHEEL, link))
        await upstream.close()
        assert inside.requests == []


async def test_name_that_answers_otherwise_when_it_is_connected_to_gains_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """DNS rebinding: what is checked is the address of the socket, not one that was looked up before."""
    with running_upstream() as inside:
        inside.add_html("demo", [WHEEL])
        answer_names(monkeypatch, {"index.example": ["8.8.8.8", "127.0.0.1"]})
        upstream = Upstream(inside.url.replace("127.0.0.1", "index.example"))
        with pytest.raises(UpstreamFailed, match="inside this network"):
            await upstream.fetch_page(DEMO)
        await upstream.close()
        assert inside.requests == []


async def test_address_inside_is_not_asked_for_through_a_proxy() -> None:
    with running_upstream() as proxy:
        upstream = Upstream("http://index.invalid/simple/", proxy=proxy.root)
        for host in ("127.0.0.1", "localhost", "169.254.169.254"):
            with pytest.raises(UpstreamFailed, match="inside this network"):
                await upstream.file_facts(mirrored_file(WHEEL, f"http://{host}/secret"))
        await upstream.close()
        assert proxy.requests == []


async def test_proxy_of_the_environment_is_used_but_for_names_that_it_excepts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with running_upstream() as proxy, running_upstream() as near:
        monkeypatch.setenv("http_proxy", proxy.root)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        proxy.paths["http://index.invalid/simple/demo/"] = Served(status=404)
        for url in ("http://index.invalid/simple/", near.url):
            upstream = Upstream(url)
            assert await upstream.fetch_page(DEMO) is None
            await upstream.close()
    assert [path for _, path, _ in proxy.requests] == ["http://index.invalid/simple/demo/"]
    assert [path for _, path, _ in near.requests] == ["/simple/demo/"]


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x", "http://[bad"])
async def test_redirect_to_anything_but_http_is_refused(index: RunningUpstream, location: str) -> None:
    index.paths["/simple/demo/"] = Served(status=302, headers={"Location": location})
    upstream = Upstream(index.url)
    with pytest.raises(UpstreamFailed):
        await upstream.fetch_page(DEMO)
    await upstream.close()


@pytest.mark.parametrize("is_endless", [True, False])
async def test_redirects_are_counted(index: RunningUpstream, is_endless: bool) -> None:
    index.add_html("demo", [WHEEL])
    page = index.paths["/simple/demo/"]
    for number in range(MOST_REDIRECTS):
        target = {"Location": f"/hop/{number + 1}"}
        index.paths[f"/hop/{number}"] = Served(status=301, headers=target)
    last = Served(status=301, headers={"Location": "/simple/demo/"}) if is_endless else page
    index.paths[f"/hop/{MOST_REDIRECTS}"] = last
    index.paths["/simple/demo/"] = index.paths["/hop/0"]
    upstream = Upstream(index.url)
    if is_endless:
        with pytest.raises(UpstreamFailed, match=f"more than {MOST_REDIRECTS} times"):
            await upstream.fetch_page(DEMO)
        assert len(index.requests) == MOST_REDIRECTS + 1
    else:
        assert isinstance(await upstream.fetch_page(DEMO), UpstreamPage)
    await upstream.close()


@pytest.mark.parametrize("way", ["redirect", "link"])
async def test_upstream_of_https_does_not_lead_to_http(tmp_path: Path, way: str) -> None:
    with running_upstream(tls_folder=tmp_path) as index, running_upstream() as plain:
        plain.add_html("demo", [WHEEL])
        link = plain.root + plain.add_file(WHEEL)
        index.paths["/simple/demo/"] = Served(status=307, headers={"Location": plain.url + "demo/"})
        upstream = Upstream(index.url.replace("https://", "https://user:s3cret@"), cert=index.cert)
        leading: Coroutine[Any, Any, object] = (
            upstream.fetch_page(DEMO)
            if way == "redirect"
            else upstream.file_facts(mirrored_file(WHEEL, link))
        )
        with pytest.raises(UpstreamFailed, match="https"):
            await leading
        await upstream.close()
        assert plain.requests == []


async def test_upstream_of_https_is_read_with_its_certificate_and_redirects_to_https(tmp_path: Path) -> None:
    with running_upstream(tls_folder=tmp_path) as index:
        index.add_html("demo", [WHEEL])
        index.paths["/moved/demo/"] = Served(status=308, headers={"Location": "/simple/demo/"})
        upstream = Upstream(
            index.root.replace("https://", "https://user:s3cret@") + "/moved/", cert=index.cert
        )
        page = await upstream.fetch_page(DEMO)
        await upstream.close()
        assert isinstance(page, UpstreamPage)
        stranger = Upstream(index.url)
        with pytest.raises(UpstreamFailed, match="Certificate"):
            await stranger.fetch_page(DEMO)
        await stranger.close()
    assert all("authorization" in headers for _, _, headers in index.requests)


async def test_netrc_of_the_machine_is_not_lent_to_hosts_that_pages_link_to(
    index: RunningUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password s3cret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    index.add_html("demo", [WHEEL])
    upstream = Upstream(index.url)
    await upstream.fetch_page(DEMO)
    await upstream.close()
    assert "authorization" not in index.requests[0][2]

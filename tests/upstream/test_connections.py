"""Where an upstream may lead: addresses, redirects, schemes, credentials."""

from __future__ import annotations

import socket
from base64 import b64encode
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


VERBATIM = "/f%7Eles/a%2Fb/../x;y=1/k%C3%A9@+&=$!*'()/demo.whl"
QUERY = "?X-Sig=a%2Fb%2Bc%3D%40&empty=&plain=a/b@c=~:;"


def leading(upstream: RunningUpstream, way: str) -> tuple[str, str]:
    """(a page that leads to a file, its path on a host whose name is not ASCII) in one way or another."""
    host = f"dätei.example:{upstream.root.rpartition(':')[2]}"
    links = {
        "link": f"http://{host}{VERBATIM}{QUERY}",
        "network path": f"//{host}{VERBATIM}{QUERY}",
        "base": f"{VERBATIM}{QUERY}".removeprefix("/f%7Eles/"),
        "redirect in Latin-1": "/latin-1",
        "redirect in UTF-8": "/utf-8",
    }
    sent = {"latin-1": links["link"], "utf-8": links["link"].encode().decode("latin-1")}
    for charset, location in sent.items():
        upstream.paths[f"/{charset}"] = Served(status=302, headers={"Location": location})
    path = f"{VERBATIM}{QUERY}"
    if way == "base":  # what is relative is resolved, and nothing else is changed
        path = path.replace("a%2Fb/../", "")
    upstream.paths[path] = Served(WHEEL.content)
    base = f'<base href="http://{host}/f%7Eles/">' if way == "base" else ""
    href = f"{links[way]}#egg=demo&sha256={WHEEL.sha256.upper()}&subdirectory=x".replace("&", "&amp;")
    return f'{base}<a href="{href}">{WHEEL.filename}</a>', path


@pytest.mark.parametrize("way", ["link", "network path", "base", "redirect in Latin-1", "redirect in UTF-8"])
async def test_address_on_a_host_beyond_ascii_is_asked_for_to_the_letter(
    index: RunningUpstream, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    answer_names(monkeypatch, {"xn--dtei-loa.example": ["127.0.0.1"]})
    page, path = leading(index, way)
    index.paths["/simple/demo/"] = Served(page.encode(), headers={"Content-Type": "text/html; charset=utf-8"})
    upstream = Upstream(index.url)
    found = await upstream.fetch_page(DEMO)
    assert isinstance(found, UpstreamPage)
    assert found.files[0].sha256 == WHEEL.sha256
    file = mirrored_file(WHEEL, found.files[0].url)
    assert (await upstream.file_facts(file)).size_bytes == len(WHEEL.content)
    part = await upstream.fetch_part(file, byte_range="-10")
    assert part is not None
    assert part.content == WHEEL.content[-10:]
    async with upstream.open_file(file) as body:
        assert b"".join([chunk async for chunk in body.chunks]) == WHEEL.content
    await upstream.close()
    asked = [(method, headers["host"]) for method, seen, headers in index.requests if seen == path]
    assert [method for method, _ in asked] == ["HEAD", "GET", "GET"]
    assert {host.partition(":")[0] for _, host in asked} == {"xn--dtei-loa.example"}


@pytest.mark.parametrize("is_at_home", [True, False])
async def test_credentials_of_a_link_go_where_it_leads(index: RunningUpstream, is_at_home: bool) -> None:
    with running_upstream() as elsewhere:
        files = index if is_at_home else elsewhere
        url = files.root.replace("http://", "http://ann:p%40ss@") + files.add_file(WHEEL)
        upstream = Upstream(index.url.replace("http://", "http://user:s3cret@"))
        await upstream.file_facts(mirrored_file(WHEEL, url))
        await upstream.close()
        (sent,) = [headers["authorization"] for _, _, headers in files.requests]
    assert sent == "Basic " + b64encode(b"ann:p@ss").decode()


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

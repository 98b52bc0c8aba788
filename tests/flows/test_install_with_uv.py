"""uv since 0.5 installs from a serving store; ``make torture`` takes one of every minor version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from flows.clients import installed_in, new_installer, versions_of
from flows.stocked_stores import LARGE_BYTES, PRIVATE, YANK_REASON
from upstreams import Served

if TYPE_CHECKING:
    from pathlib import Path

    from flows.clients import Client
    from flows.stocked_stores import StockedStore

pytestmark = [pytest.mark.slow]

VERSIONS = versions_of("uv")


def _parameter(version: str) -> Any:
    is_at_an_end = version in (VERSIONS[0], VERSIONS[-1])
    return pytest.param(version, marks=() if is_at_an_end else pytest.mark.torture)


every_uv = pytest.mark.parametrize("version", [_parameter(version) for version in VERSIONS])


@pytest.fixture
def uv(tmp_path: Path, version: str) -> Client:
    return new_installer("uv", version, folder=tmp_path / "environment", home=tmp_path)


def install(uv: Client, *words: str) -> tuple[str, ...]:
    """The words of an installation into the environment that uv stands in, with nobody's configuration."""
    return ("uv", "--no-config", "pip", "install", "--python", str(uv.environment.python), *words)


@every_uv
def test_newest_release_that_fits_is_installed(uv: Client, version: str, stocked: StockedStore) -> None:
    """Not the yanked one, not the one for another Python, not the pre-release; pages are then revalidated."""
    command = install(uv, "--index-url", stocked.index(), "demo")
    with stocked.watched() as seen:
        uv.call(*command).succeeded()
    assert installed_in(uv) == {"demo": "1.2", "lower": "3.0"}
    assert seen.statuses() == {200}
    assert seen.suppliers(".whl") == {
        "demo-1.2-py3-none-any.whl": "unstable",
        "lower-3.0-py3-none-any.whl": "pypi",
    }
    assert all(str(line["agent"]).startswith(f"uv/{version} ") for line in seen.lines)
    with stocked.watched() as seen:
        uv.call(*command, "--reinstall").succeeded()
    assert seen.pages(status=304) == ["demo", "lower"]


@every_uv
def test_private_index_opens_with_a_token_in_its_url(uv: Client, stocked: StockedStore) -> None:
    refused = uv.call(*install(uv, "--index-url", stocked.index(PRIVATE), "hidden")).failed()
    assert "401" in refused
    uv.call(*install(uv, "--index-url", stocked.index(PRIVATE, token=stocked.token), "hidden")).succeeded()
    assert installed_in(uv) == {"demo": "1.2", "hidden": "1.0", "lower": "3.0", "source-only": "1.0"}


@every_uv
def test_pinned_hashes_are_those_of_the_files(uv: Client, stocked: StockedStore, tmp_path: Path) -> None:
    wheel, lower = stocked.files["demo-1.0-py3-none-any.whl"], stocked.files["lower-3.0-py3-none-any.whl"]
    requirements = tmp_path / "requirements.txt"
    command = install(uv, "--index-url", stocked.index("stable"), "--require-hashes", "-r", str(requirements))
    pins = f"demo==1.0 --hash=sha256:{wheel.sha256}\nlower==3.0 --hash=sha256:"
    requirements.write_text(pins + "0" * 64)
    assert "Hash mismatch" in uv.call(*command).failed()
    requirements.write_text(pins + lower.sha256)
    uv.call(*command).succeeded()
    assert installed_in(uv) == {"demo": "1.0", "lower": "3.0"}


@every_uv
def test_yanked_release_is_installed_when_pinned_and_says_why(uv: Client, stocked: StockedStore) -> None:
    said = uv.call(*install(uv, "--index-url", stocked.index(), "--no-binary", "demo", "demo==1.3"))
    assert f'`demo==1.3` is yanked (reason: "{YANK_REASON}")' in said.succeeded()
    assert installed_in(uv) == {"demo": "1.3", "lower": "3.0"}  # built from its sdist


@every_uv
def test_backtracking_reads_sidecars_instead_of_wheels(uv: Client, stocked: StockedStore) -> None:
    with stocked.watched() as seen:
        uv.call(*install(uv, "--index-url", stocked.index(), "picky", "lower>=1")).succeeded()
    assert installed_in(uv) == {"lower": "3.0", "picky": "1.0"}
    wheels = ["lower-3.0-py3-none-any.whl", "picky-1.0-py3-none-any.whl"]
    assert sorted(file for file in seen.files() if file.endswith(".whl")) == wheels
    assert "picky-3.0-py3-none-any.whl.metadata" in seen.files()


@every_uv
def test_only_what_was_uploaded_before_a_day_is_taken(uv: Client, stocked: StockedStore) -> None:
    """Own files carry when they were uploaded here, mirrored ones when upstream got them."""
    before = install(uv, "--index-url", stocked.index(), "--exclude-newer", "2026-02-15")
    uv.call(*before, "demo").succeeded()
    assert installed_in(uv) == {"demo": "1.1", "lower": "2.0"}
    # Upstream names no time for these: they count as new since the store saw them first.
    assert "there are no versions of picky" in uv.call(*before, "picky").failed()


@every_uv
def test_metadata_is_read_out_of_a_wheel_by_ranges(uv: Client, stocked: StockedStore) -> None:
    """Of a wheel that some other index links to without a sidecar: HEAD, its end, the members it names."""
    made = stocked.files["large-1.0-py3-none-any.whl"]
    path = f"packages/{made.sha256}/{made.filename}"
    page = f'<a href="{stocked.running.url}/{path}#sha256={made.sha256}">{made.filename}</a>'.encode()
    stocked.upstream.paths["/bare/large/"] = Served(page, headers={"Content-Type": "text/html"})
    bare = stocked.upstream.url.replace("/simple/", "/bare/")
    with stocked.watched() as seen:
        uv.call(*install(uv, "--index-url", bare, "--dry-run", "large")).succeeded()
    assert seen.files(method="HEAD") == [made.filename]
    parts = [line for line in seen.lines if line["method"] == "GET"]
    assert {line["status"] for line in parts} == {206}
    assert sum(int(str(line["bytes"])) for line in parts) < LARGE_BYTES // 10

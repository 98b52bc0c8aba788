"""Every pip since 21 installs from a serving store: own releases, mirrored dependencies, private indexes.

pip reads HTML before 22.2 and sidecars since 23.2. ``make test`` takes the oldest and the newest, ``make
torture`` one of every minor version.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
from packaging.version import Version

from certificates import make_certificate
from flows.clients import installed_in, new_installer, versions_of
from flows.fronts import running_front
from flows.stocked_stores import LARGE_BYTES, PRIVATE, YANK_REASON

if TYPE_CHECKING:
    from pathlib import Path

    from flows.clients import Client
    from flows.stocked_stores import StockedStore

pytestmark = [pytest.mark.slow]

VERSIONS = versions_of("pip")
NEWEST = VERSIONS[-1]
IN_MAKE_TEST = {VERSIONS[0], NEWEST}
FIRST_ON_PYTHON_3_12 = Version("23.1")
FIRST_WITH_INDEX_VERSIONS = Version("21.2")
FIRST_WITH_SIDECARS = Version("23.2")


def _parameter(version: str) -> Any:
    marks = [] if version in IN_MAKE_TEST else [pytest.mark.torture]
    if sys.version_info >= (3, 12) and Version(version) < FIRST_ON_PYTHON_3_12:
        marks.append(pytest.mark.skip(reason=f"pip {version} runs on Python 3.11 and older only"))
    return pytest.param(version, marks=marks)


every_pip = pytest.mark.parametrize("version", [_parameter(version) for version in VERSIONS])
newest_pip = pytest.mark.parametrize("version", [NEWEST])


@pytest.fixture
def pip(tmp_path: Path, version: str) -> Client:
    return new_installer("pip", version, folder=tmp_path / "environment", home=tmp_path)


def wheels(files: list[str]) -> list[str]:
    return [file for file in files if file.endswith(".whl")]


@every_pip
def test_newest_release_that_fits_is_installed(pip: Client, version: str, stocked: StockedStore) -> None:
    """Not the yanked one, not the one for another Python, not the pre-release; its dependency is mirrored."""
    with stocked.watched() as seen:
        pip.call("pip", "install", "--index-url", stocked.index(), "demo").succeeded()
    assert installed_in(pip) == {"demo": "1.2", "lower": "3.0"}
    assert seen.statuses() == {200}
    assert seen.pages() == ["demo", "lower"]
    assert seen.suppliers(".whl") == {
        "demo-1.2-py3-none-any.whl": "unstable",
        "lower-3.0-py3-none-any.whl": "pypi",
    }
    assert all(str(line["agent"]).startswith(f"pip/{version} ") for line in seen.lines)


@every_pip
def test_private_index_opens_with_a_token_in_its_url(pip: Client, stocked: StockedStore) -> None:
    """A private wheel that needs an sdist, a release of a public index and a mirrored one."""
    refused = pip.call("pip", "install", "--no-input", "--index-url", stocked.index(PRIVATE), "hidden")
    assert "No matching distribution found for hidden" in refused.failed()
    url = stocked.index(PRIVATE, token=stocked.token)
    pip.call("pip", "install", "--index-url", url, "hidden").succeeded()
    assert installed_in(pip) == {"demo": "1.2", "hidden": "1.0", "lower": "3.0", "source-only": "1.0"}


@every_pip
def test_pinned_hashes_are_those_of_the_files(pip: Client, stocked: StockedStore, tmp_path: Path) -> None:
    names = ("demo-1.1-py3-none-any.whl", "lower-2.0-py3-none-any.whl")
    pins = [f"{name.split('-')[0]}=={name.split('-')[1]}" for name in names]
    requirements = tmp_path / "requirements.txt"

    def install(index: str) -> tuple[str, ...]:
        return ("pip", "install", "--require-hashes", "-r", str(requirements), "--index-url", index)

    lines = [
        f"{pin} --hash=sha256:{stocked.files[name].sha256}" for pin, name in zip(pins, names, strict=True)
    ]
    requirements.write_text("\n".join(lines))
    pip.call(*install(stocked.index("testing"))).succeeded()
    assert installed_in(pip) == {"demo": "1.1", "lower": "2.0"}
    requirements.write_text(f"demo==1.0 --hash=sha256:{'0' * 64}\n{lines[1]}\n")
    assert "DO NOT MATCH THE HASHES" in pip.call(*install(stocked.index("testing"))).failed()


@every_pip
def test_yanked_release_is_installed_when_pinned_and_says_why(pip: Client, stocked: StockedStore) -> None:
    said = pip.call("pip", "install", "--index-url", stocked.index(), "--no-binary", "demo", "demo==1.3")
    assert f"Reason for being yanked: {YANK_REASON}" in said.succeeded()
    assert installed_in(pip) == {"demo": "1.3", "lower": "3.0"}  # built from its sdist


@every_pip
def test_backtracking_reads_sidecars_instead_of_wheels(
    pip: Client, version: str, stocked: StockedStore
) -> None:
    """Two releases do not go with ``lower`` 3.0; their wheels are never sent to a pip that reads sidecars."""
    with stocked.watched() as seen:
        pip.call("pip", "install", "--index-url", stocked.index(), "picky", "lower>=1").succeeded()
    assert installed_in(pip) == {"lower": "3.0", "picky": "1.0"}
    tried = [f"picky-{version}-py3-none-any.whl" for version in ("1.0", "2.0", "3.0")]
    if Version(version) < FIRST_WITH_SIDECARS:
        assert set(wheels(seen.files())) == {*tried, "lower-3.0-py3-none-any.whl"}
        return
    assert sorted(wheels(seen.files())) == ["lower-3.0-py3-none-any.whl", "picky-1.0-py3-none-any.whl"]
    assert {f"{wheel}.metadata" for wheel in tried} <= set(seen.files())


@every_pip
def test_what_pip_keeps_is_revalidated_behind_tls(pip: Client, stocked: StockedStore, tmp_path: Path) -> None:
    """Over HTTPS pip keeps what it got: pages are not sent again, files not even asked for."""
    certificate = make_certificate(tmp_path)
    with running_front(stocked.running.url, certificate=certificate) as front:
        download = (
            "pip",
            "download",
            "--cert",
            certificate[0],
            "--index-url",
            f"{front.url}/stable/simple/",
        )
        pip.call(*download, "-d", "first", "demo").succeeded()
        with stocked.watched() as seen:
            pip.call(*download, "-d", "second", "demo").succeeded()
    assert seen.statuses() == {304}
    assert seen.pages(status=304) == ["demo", "lower"]
    assert seen.files() == []
    kept = sorted(path.name for path in (tmp_path / "second").iterdir())
    assert kept == ["demo-1.0-py3-none-any.whl", "lower-3.0-py3-none-any.whl"]


@pytest.mark.parametrize(
    "version", [_parameter(each) for each in VERSIONS if Version(each) >= FIRST_WITH_INDEX_VERSIONS]
)
def test_versions_are_listed(pip: Client, stocked: StockedStore) -> None:
    said = pip.call("pip", "index", "versions", "--index-url", stocked.index(), "demo").succeeded()
    assert "demo (1.2) Available versions: 1.2, 1.1, 1.0" in said


@pytest.mark.parametrize("version", [_parameter(VERSIONS[0]), _parameter("23.0.1")])
def test_metadata_is_read_out_of_a_wheel_by_ranges(pip: Client, stocked: StockedStore) -> None:
    """``fast-deps`` of pip before sidecars: the end of the wheel, then the members it names."""
    with stocked.watched() as seen:
        options = ("--use-feature=fast-deps", "--index-url", stocked.index())
        pip.call("pip", "install", *options, "large").succeeded()
    assert "large-1.0-py3-none-any.whl" in seen.files(method="HEAD")
    parts = [line for line in seen.lines if line["status"] == 206]
    assert parts
    assert sum(int(str(line["bytes"])) for line in parts) < LARGE_BYTES // 10


@newest_pip
def test_broken_download_is_resumed(pip: Client, stocked: StockedStore, tmp_path: Path) -> None:
    """The connection ends in the middle of a file; pip asks for the rest of the very same bytes."""
    with stocked.watched() as seen, running_front(stocked.running.url) as front:
        front.cut_after_bytes = LARGE_BYTES // 2
        url = f"{front.url}/unstable/simple/"
        pip.call("pip", "download", "-d", "got", "--index-url", url, "large").succeeded()
    name = "large-1.0-py3-none-any.whl"
    assert (tmp_path / "got" / name).read_bytes() == stocked.files[name].content
    asked = [line for line in seen.lines if str(line["path"]).endswith(name)]
    assert [line["status"] for line in asked] == [200, 206]
    assert 0 < int(str(asked[1]["bytes"])) < len(stocked.files[name].content)


@newest_pip
def test_only_what_was_uploaded_before_a_day_is_taken(pip: Client, stocked: StockedStore) -> None:
    """Own files carry when they were uploaded here, mirrored ones when upstream got them."""
    before = ("pip", "install", "--uploaded-prior-to", "2026-02-15", "--index-url", stocked.index())
    pip.call(*before, "demo").succeeded()
    assert installed_in(pip) == {"demo": "1.1", "lower": "2.0"}
    # Upstream names no time for these: they count as new since the store saw them first.
    assert "No matching distribution found for picky" in pip.call(*before, "picky").failed()


@newest_pip
def test_only_wheels_or_only_sdists_are_downloaded(
    pip: Client, stocked: StockedStore, tmp_path: Path
) -> None:
    download = ("pip", "download", "--index-url", stocked.index(), "-d", "got")
    refused = pip.call(*download, "--only-binary", ":all:", "source-only").failed()
    assert "No matching distribution found for source-only" in refused
    pip.call(*download, "--only-binary", ":all:", "demo").succeeded()
    pip.call(*download, "--no-binary", "demo", "--no-deps", "demo").succeeded()
    got = {path.name: path.read_bytes() for path in (tmp_path / "got").iterdir()}
    assert sorted(got) == ["demo-1.2-py3-none-any.whl", "demo-1.2.tar.gz", "lower-3.0-py3-none-any.whl"]
    assert all(content == stocked.files[name].content for name, content in got.items())

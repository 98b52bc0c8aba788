"""The tools that upload, each told where and as whom in its own way, without a question."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from flows.clients import Called, Client

SHOWS_ALL = "all"
SHOWS_REFUSED_FILES = "refused files"
SHOWS_STATUS = "status"


@dataclass(frozen=True)
class Publisher:
    """A tool that uploads the files in the folder ``dist`` of a project."""

    publish: Callable[[Client, Path, str, str], Called]
    """Called with the tool, the project's folder, the upload URL and the token."""
    shows: str
    """How much of an answer it prints: everything, everything of a 400 but else the status, the status."""


def _files(project: Path) -> list[Path]:
    return sorted(path for path in (project / "dist").iterdir() if path.suffix in (".whl", ".gz"))


def _twine(client: Client, project: Path, url: str, token: str) -> Called:
    options = ("--verbose", "--non-interactive", "--disable-progress-bar", "--repository-url", url)
    credentials = {"TWINE_USERNAME": "__token__", "TWINE_PASSWORD": token}
    return client.call("twine", "upload", *options, *_files(project), variables=credentials)


def _uv(client: Client, project: Path, url: str, token: str) -> Called:
    """Publish all that is in ``dist``, as ``uv publish`` alone would: attestations go with their files."""
    files = sorted((project / "dist").iterdir())
    publish = ("uv", "--no-config", "publish", "--publish-url", url)
    return client.call(*publish, *files, variables={"UV_PUBLISH_TOKEN": token})


def _poetry(client: Client, project: Path, url: str, token: str) -> Called:
    settings = {
        "POETRY_REPOSITORIES_HOUSE_URL": url,
        "POETRY_HTTP_BASIC_HOUSE_USERNAME": "__token__",
        "POETRY_HTTP_BASIC_HOUSE_PASSWORD": token,
    }
    publish = ("poetry", "--no-interaction", "publish", "--repository", "house")
    return client.call(*publish, folder=project, variables=settings)


def _pdm(client: Client, project: Path, url: str, token: str) -> Called:
    settings = {
        "PDM_CHECK_UPDATE": "false",
        "PDM_PUBLISH_REPO": url,
        "PDM_PUBLISH_USERNAME": "__token__",
        "PDM_PUBLISH_PASSWORD": token,
    }
    return client.call("pdm", "publish", "--no-build", folder=project, variables=settings)


def _hatch(client: Client, project: Path, url: str, token: str) -> Called:
    settings = {"HATCH_INDEX_REPO": url, "HATCH_INDEX_USER": "__token__", "HATCH_INDEX_AUTH": token}
    return client.call("hatch", "publish", *_files(project), folder=project, variables=settings)


def _flit(client: Client, project: Path, url: str, token: str) -> Called:
    """Publish with flit, which always builds what it publishes, reproducibly."""
    settings = {"FLIT_INDEX_URL": url, "FLIT_USERNAME": "__token__", "FLIT_PASSWORD": token}
    return client.call("flit", "publish", folder=project, variables=settings)


PUBLISHERS = {
    "twine": Publisher(_twine, SHOWS_ALL),
    "twine-3": Publisher(_twine, SHOWS_ALL),
    "uv": Publisher(_uv, SHOWS_ALL),
    "poetry": Publisher(_poetry, SHOWS_ALL),
    "pdm": Publisher(_pdm, SHOWS_STATUS),
    "hatch": Publisher(_hatch, SHOWS_STATUS),
    "flit": Publisher(_flit, SHOWS_REFUSED_FILES),
}


def log_named_in(called: Called) -> str:
    """The log that pdm names when it fails: it holds what pdm does not print."""
    named = called.output.partition("See ")[2].partition(" for detailed debug log")[0]
    return Path(named).read_text(encoding="utf-8")

"""Proof that the consumer got what was tested, from the store's own log.

What pip says it installed (its report, one digest per file) is compared with what the store's access log
says it served: every installed file must have been served by the store, and the index that supplied it is
named. A file from anywhere else (an extra index in somebody's pip configuration) would be missing here.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from packaging.utils import canonicalize_name

from conveyor.errors import StepFailed

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class InstalledFile:
    """One distribution that pip installed."""

    name: str
    version: str
    filename: str
    sha256: str


@dataclass(frozen=True)
class ServedFile:
    """One file that the store's access log says it served in full."""

    filename: str
    sha256: str
    supplied_by: str


def read_pip_report(path: Path) -> tuple[InstalledFile, ...]:
    """What ``pip install --report`` says it installed, in its order."""
    report = json.loads(path.read_text(encoding="utf-8"))
    installed = []
    for item in report["install"]:
        download = item["download_info"]
        installed.append(
            InstalledFile(
                name=canonicalize_name(item["metadata"]["name"]),
                version=item["metadata"]["version"],
                filename=unquote(urlsplit(download["url"]).path.rpartition("/")[2]),
                sha256=download["archive_info"]["hashes"]["sha256"],
            )
        )
    return tuple(installed)


def read_served_files(access_log: Path, *, agent: str) -> tuple[ServedFile, ...]:
    """The files the store served to clients whose user agent begins with ``agent``, in order."""
    served = []
    for line in access_log.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        parts = entry["path"].split("/")
        if entry["status"] != 200 or entry["method"] != "GET" or len(parts) != 4 or parts[1] != "packages":
            continue
        if parts[3].endswith(".metadata") or not (entry["agent"] or "").startswith(agent):
            continue
        served.append(ServedFile(unquote(parts[3]), parts[2], entry["supplied_by"] or "?"))
    return tuple(served)


def pages_supplied_by(access_log: Path, *, index: str, project: str, agent: str) -> frozenset[str]:
    """Which indexes supplied the pages of ``project`` that such clients asked ``index`` for."""
    wanted = f"/{index}/simple/{project}/"
    entries = (json.loads(line) for line in access_log.read_text(encoding="utf-8").splitlines())
    return frozenset(
        entry["supplied_by"] or "?"
        for entry in entries
        if entry["path"] == wanted and entry["status"] == 200 and (entry["agent"] or "").startswith(agent)
    )


def prove_origin(
    installed: tuple[InstalledFile, ...], served: tuple[ServedFile, ...], *, own: str, stage: str, mirror: str
) -> Counter[str]:
    """Count the installed files by the index that supplied them.

    ``own`` is the project that must come from the index ``stage``; everything else must come from ``mirror``.

    Raises:
        StepFailed: a file was not served by this store, or was supplied by another index; names each.
    """
    by_digest = {file.sha256: file for file in served}
    faults = []
    count: Counter[str] = Counter()
    for file in installed:
        found = by_digest.get(file.sha256)
        wanted = stage if file.name == own else mirror
        if found is None:
            faults.append(
                f"{file.filename} was installed, but the store's log does not show that it served it"
            )
        elif found.supplied_by != wanted:
            faults.append(f"{file.filename} was supplied by {found.supplied_by}, not by {wanted}")
        else:
            count[found.supplied_by] += 1
    if not any(file.name == own for file in installed):
        faults.append(f"{own} was not installed at all")
    if faults:
        raise StepFailed("what was installed is not what the store served:\n" + "\n".join(faults))
    return count

"""Proof, from the store's own log, that the consumer installed the tested files.

pip's report (one digest per installed file) is compared with the store's access log: the store must have
served every installed file, and the log names the index that supplied it. A file from anywhere else (an extra
index in somebody's pip configuration) would be missing there. The installed files are also compared with the
release's evidence: derived from the tested candidate, rebuilt to the same bytes, and themselves tested.
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

    from conveyor.domain.releases.standing import Release


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
    """The files that ``pip install --report`` lists, in its order."""
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
    """The files that the store served to clients whose user agent begins with ``agent``, in order."""
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


def prove_custody(installed: tuple[InstalledFile, ...], release: Release, *, stage: str) -> tuple[str, str]:
    """Prove that the installed file equals the tested candidate except for its version; return two sentences.

    The wheel that pip installed must be the one that was derived from the tested release candidate and
    rebuilt to the same bytes, and it must itself have been installed and tested against the index ``stage``.

    Raises:
        StepFailed: a link of the chain is missing; the message names it.
    """
    file = next(one for one in installed if one.name == release.project)
    about = [one for one in release.evidence if one.sha256 == file.sha256]
    derivation = next((one.predicate for one in reversed(about) if one.kind == "equivalence"), None)
    if derivation is None:
        raise StepFailed(f"{file.filename} carries no evidence that it equals a tested candidate")
    if not derivation["derived_sha256"] == derivation["rebuilt_sha256"] == file.sha256:
        raise StepFailed(f"{file.filename} was derived from a candidate, but a rebuild has other bytes")
    tests = [one.predicate for one in about if one.kind == "tests" and one.predicate["index"] == stage]
    if not tests:
        raise StepFailed(f"{file.filename} was never tested against {stage}")
    passed = tests[-1]["passed"]
    return (
        f"{file.filename} is {derivation['rc_filename']} but for its version; a rebuild has the same bytes",
        f"and that very file (sha256 {file.sha256[:16]}…) was installed and tested: {passed} tests passed",
    )

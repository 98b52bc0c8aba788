"""Wheels of what is installed here, packed again: an upstream for tests that need no network."""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.metadata
import io
import zipfile
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from distributions_made import Made

if TYPE_CHECKING:
    from upstreams import RunningUpstream

ROOTS = ("pytest", "hatchling", "hatch-vcs", "setuptools-scm", "editables")
_INSTALLERS = ("INSTALLER", "REQUESTED", "direct_url.json", "RECORD", "uv_cache.json", "uv_build.json")


def offer_installed(upstream: RunningUpstream, roots: tuple[str, ...] = ROOTS) -> None:
    """Offer the installed version of the roots and of all they require."""
    found: set[str] = set()
    waiting = [str(canonicalize_name(root)) for root in roots]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        upstream.add_html(name, [_pack(name)])
        for line in importlib.metadata.distribution(name).requires or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(canonicalize_name(requirement.name))


def _pack(name: str) -> Made:
    """The wheel of an installed distribution, without what an installer left or generated."""
    distribution = importlib.metadata.distribution(name)
    tag = next(
        line.removeprefix("Tag: ").strip()
        for line in (distribution.read_text("WHEEL") or "").splitlines()
        if line.startswith("Tag: ")
    )
    rows: list[tuple[str, str, str]] = []
    info = ""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as wheel:
        for file in distribution.files or []:
            is_made = file.parts[0] == ".." or file.suffix == ".pyc"
            if ".dist-info" in file.parts[0]:
                info = file.parts[0]
                is_made = is_made or file.name in _INSTALLERS
            if is_made:
                continue
            content = file.read_binary()
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            rows.append((str(file), f"sha256={digest}", str(len(content))))
            wheel.writestr(str(file), content)
        written = io.StringIO()
        csv.writer(written, lineterminator="\n").writerows([*rows, (f"{info}/RECORD", "", "")])
        wheel.writestr(f"{info}/RECORD", written.getvalue())
    stem = canonicalize_name(name).replace("-", "_")
    return Made(f"{stem}-{distribution.version}-{tag}.whl", stream.getvalue())

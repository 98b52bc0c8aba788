"""The table of proven clients names the versions that the flows are played with."""

from __future__ import annotations

import re

from packaging.version import Version

from docs.markdown import ROOT, page
from flows.documented import GUIDE

PINNED = ROOT / "requirements" / "clients"

OTHERS = {"pyscaffold", "ci-runners", "buildbot"}
"""Tools that make projects or run jobs, and never ask an index."""


def _pinned() -> dict[str, str]:
    """Client → its versions as the table has them, from the pinned requirements."""
    found: dict[str, str] = {}
    for file in PINNED.glob("*.txt"):
        if file.stem in OTHERS:
            continue
        client = file.stem.partition("-")[0]
        version = re.search(rf"^{client}==(\S+)", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
        if version is not None:
            found[file.stem.replace("-", " ")] = version[1]
    installers = (PINNED / "installers.txt").read_text(encoding="utf-8")
    for name in ("pip", "uv"):
        versions = sorted(re.findall(rf"^{name}==(\S+)", installers, flags=re.MULTILINE), key=Version)
        found[name] = f"{versions[0]} to {versions[-1]}"
    return found


def test_table_of_clients_names_the_pinned_versions() -> None:
    shown = {row[0]: row[1] for row in page(GUIDE).rows() if re.fullmatch(r"[\d.]+( to [\d.]+)?", row[1])}
    assert shown == _pinned()

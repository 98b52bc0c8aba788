"""One project through every gate: what ``conveyor why`` says while each is shut, and once it is open."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import flows.serve_later
from pipeline.projects import HATCHLING, git, make_project
from pipeline.test_flow import claimed

if TYPE_CHECKING:
    from pipeline.conftest import Town

pytestmark = [pytest.mark.torture, pytest.mark.xdist_group("pipeline"), pytest.mark.timeout(900)]

PAGE = Path(__file__).parents[2] / "docs/reference/evidence-and-gates.md"
PROJECT = "ledger"
GATES = (
    "tests", "qa-signature", "final-version", "equivalence", "docs", "age", "approval", "licences",
    "dependants", "advisories",
)  # fmt: skip
ADVISORY = {
    "id": "PYSEC-2026-1",
    "modified": "2026-01-01T00:00:00Z",
    "summary": "adds wrongly",
    "affected": [{"package": {"ecosystem": "PyPI", "name": PROJECT}, "versions": ["1.0.0"]}],
}


class Walk:
    """What was printed about each gate, shut and open."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.lines: dict[str, list[str]] = {}

    def see(self, gate: str, version: str, *, days: int = 0) -> str:
        """The line about one gate of "stable", some days from now; times and commits by placeholders."""
        words = ["why", PROJECT, version, "--to", "stable", "--data", str(self.town.data)]
        command = [sys.executable, flows.serve_later.__file__, str(days), *words]
        said = subprocess.run(command, env=self.town.variables(), capture_output=True, text=True, check=True)
        (line,) = (one.strip() for one in said.stdout.splitlines() if one.split()[1:2] == [f"{gate}:"])
        line = re.sub(r"\b[0-9a-f]{12}\b", "COMMIT", re.sub(r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "TIME", line))
        line = re.sub(r"Python [0-9.]+, linux-\w+", "Python 3.11.2, linux-x86_64", line)
        line = re.sub(r"\s+", " ", line)
        self.lines.setdefault(gate, []).append(line)
        return line

    def rules(self, **settings: object) -> None:
        """Let the policy of "stable" have every gate and these settings."""
        listed = "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
        rules = f"schema = 1\n[index.stable.project.{PROJECT}]\ngates = {json.dumps(GATES)}\n{listed}"
        self.town.client.policies.apply(rules, reason="every gate")


def test_each_gate_is_shut_and_opens_as_the_reference_shows(town: Town, tmp_path: Path) -> None:
    walk = Walk(town)
    data, credentials = ("--data", town.data), ("--credentials", town.credentials, "--state", town.state)
    claimed(town, PROJECT)
    licensed = HATCHLING.replace("dynamic =", 'license = "GPL-3.0-only"\ndynamic =')
    repository = make_project(tmp_path / PROJECT, name=PROJECT, pyproject=licensed)
    strict = {"licences": ["MIT"], "minimum_age_hours": 24}
    walk.rules(**strict)

    # A candidate: packaged and not yet tested, and no final.
    git(repository, "tag", "v1.0.0rc1")
    at = ("--repo", repository, "--store", town.url)
    town.conveyor("pipeline", "package", *at, "--ref", "v1.0.0rc1", *credentials)
    walk.see("tests", "1.0.0rc1")
    walk.see("final-version", "1.0.0rc1")
    walk.see("docs", "1.0.0rc1")
    with zipfile.ZipFile(tmp_path / "docs.zip", "w") as archive:
        archive.writestr("index.html", "<title>ledger</title>")
    handing = ("store", "docs", PROJECT, "1.0.0rc1", tmp_path / "docs.zip", "--url", town.url)
    town.conveyor(*handing, CONVEYOR_TOKEN=town.token)
    walk.see("docs", "1.0.0rc1")

    # The final is published before its candidate was tested: it equals none, and nobody signed it.
    git(repository, "tag", "-a", "-m", f"{PROJECT} 1.0.0", "v1.0.0")
    town.conveyor("pipeline", "run", *at, "--ref", "v1.0.0", *credentials, expected=4)
    for gate in GATES[1:]:
        if gate not in ("final-version", "docs", "dependants"):
            walk.see(gate, "1.0.0")
    walk.see("final-version", "1.0.0")

    # People do what the lines say.
    town.conveyor("store", "approve", PROJECT, "1.0.0", "--to", "stable", "--reason", "read it", *data)
    walk.see("approval", "1.0.0")
    walk.see("age", "1.0.0", days=2)
    feed = tmp_path / "feed"
    feed.mkdir()
    for changed in ({}, {"modified": "2026-01-02T00:00:00Z", "withdrawn": "2026-01-02T00:00:00Z"}):
        (feed / "PYSEC-2026-1.json").write_text(json.dumps(ADVISORY | changed))
        town.conveyor("store", "advisories", "import", feed, *data)
        walk.see("advisories", "1.0.0")
    walk.rules(**strict | {"licences": ["MIT", "GPL-3.0-only"]})
    walk.see("licences", "1.0.0")
    git(repository, "tag", "-d", "v1.0.0")
    town.sign(repository, "v1.0.0")
    town.conveyor("pipeline", "run", *at, "--ref", "v1.0.0", *credentials, expected=4)
    walk.see("qa-signature", "1.0.0")

    # The next one is the final of a tested candidate.
    git(repository, "commit", "-q", "--allow-empty", "-m", "Go on")
    git(repository, "tag", "v1.1.0rc1")
    town.run(repository, "v1.1.0rc1")
    walk.see("tests", "1.1.0rc1")
    town.sign(repository, "v1.1.0")
    town.run(repository, "v1.1.0", expected=4)
    walk.see("equivalence", "1.1.0")
    missing = {gate for gate in GATES if len(walk.lines.get(gate, ())) < 2} - {"dependants"}
    assert not missing

    shown = PAGE.read_text(encoding="utf-8")
    lines = [line for said in walk.lines.values() for line in said]
    absent = [line for line in lines if line not in shown]
    assert not absent, "\n".join(absent)

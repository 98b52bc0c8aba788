"""The files for CI hosts: readable by their parsers, and with the traps of their runners avoided."""

from __future__ import annotations

import re
import subprocess

import pytest
import yaml  # type: ignore[import-untyped] # it has no types, and only this test reads YAML

from conveyor.project.ci import FILES, PACKAGE, TEST, ci_file

URL = "https://store.example.org"


@pytest.mark.parametrize("host", list(FILES))
def test_file_calls_the_two_commands_and_nothing_else_of_ours(host: str) -> None:
    text = ci_file(host, URL)  # type: ignore[arg-type] # a key of the table
    assert set(re.findall(r"^ *conveyor (\w+ \w+)", text, re.MULTILINE)) == {
        "pipeline package",
        "pipeline test",
    }
    assert "@" not in text.replace("checkout@v4", "")
    assert URL in text


@pytest.mark.parametrize("host", ["gitlab", "github"])
def test_yaml_gives_the_host_the_shell_as_it_is_tested(host: str) -> None:
    read = yaml.safe_load(ci_file(host, URL))  # type: ignore[arg-type] # a key of the table
    if host == "gitlab":
        scripts = [read[job]["script"][0] for job in ("package", "test")]
        assert read["variables"]["GIT_DEPTH"] == "0"
    else:
        scripts = [step["run"] for step in read["jobs"]["conveyor"]["steps"][-2:]]
        assert not any("${{" in script for script in scripts)  # names come by variable, never as text
    assert scripts == [PACKAGE, TEST]


@pytest.mark.parametrize("script", [PACKAGE, TEST])
def test_shell_of_the_files_is_plain(script: str) -> None:
    assert subprocess.run(["/bin/sh", "-n", "-c", script]).returncode == 0
    assert "'''" not in script  # it stands in such a text in the Jenkinsfile

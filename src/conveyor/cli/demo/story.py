"""The story, station by station.

1. a store starts on the loopback interface
2. a worker and a QA signer are registered, and the project's name is claimed
3. a project is made, with a model to train
4. a commit and a tag are pushed: v0.1.0rc1 is packaged, tested, promoted to "testing"
5. an unsigned release is refused: "stable" answers with one verdict per gate
6. QA signs v0.1.0 on the same commit: derived from the tested rc, rebuilt, tested, promoted to "stable"
7. a consumer installs tumor==0.1.0 with plain pip and calls predict on real rows
8. the store's log proves where every installed file came from, its evidence that each is the tested one
"""

from __future__ import annotations

import json
import shutil
import signal
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from conveyor.cli.demo import proof
from conveyor.cli.demo.cast import (
    CONVEYOR,
    Cast,
    call,
    make_bare_repository,
    make_signing_key,
    start_store,
    wait_for,
)
from conveyor.cli.demo.screen import Screen, station
from conveyor.client.store import connect
from conveyor.errors import InvalidInput, PromotionRefused, StepFailed
from conveyor.pipeline.jails.wall import means

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

PROJECT = "tumor"
CANDIDATE = "0.1.0rc1"
FINAL = "0.1.0"
SIGNER = "qa@localhost"
POLL_SECONDS = 0.1
RUN_SECONDS = 600.0
"""The story gives up on a run that takes longer than this: something hangs."""

PREDICT = """
import json, tumor
from sklearn.datasets import load_breast_cancer
data = load_breast_cancer()
rows = [[float(value) for value in row] for row in data.data[:: len(data.data) // 5][:5]]
truth = [str(data.target_names[target]) for target in data.target[:: len(data.data) // 5][:5]]
found = tumor.predict(rows)
print(json.dumps([[one.label, round(one.probability, 3), fact] for one, fact in zip(found, truth)]))
"""


@dataclass(frozen=True)
class Stage:
    """Where the story plays."""

    folder: Path
    cast: Cast
    screen: Screen

    @property
    def data(self) -> Path:
        """The store's data folder."""
        return self.folder / "store"

    @property
    def access_log(self) -> Path:
        """The store's access log."""
        return self.folder / "access.log"

    @property
    def checkout(self) -> Path:
        """The checkout of the project's author."""
        return self.folder / PROJECT

    @property
    def credentials(self) -> Path:
        """The worker's key and token."""
        return self.folder / "worker.toml"


def play(screen: Screen, *, keep: bool, folder: Path | None) -> None:
    """Play the story; raises at the first station that fails, and ends every process that it started."""
    started = time.monotonic()
    with _working_folder(folder, keep=keep) as place, _stopped_by_signals():
        cast = Cast(place)
        stage = Stage(place, cast, screen)
        has_ended_well = False
        try:
            url, token = _open_the_store(stage)
            _push_candidate(stage, url, token)
            _see_promotion_refused(stage, url, token)
            _push_final(stage, url, token)
            _consume(stage, url, token)
            has_ended_well = True
        finally:
            cast.stop(but="store" if keep and has_ended_well else None)
        screen.say(f"\nfrom commit to pip install in {time.monotonic() - started:.1f} s")
        _look_around(stage, url, keep=keep)


def _open_the_store(stage: Stage) -> tuple[str, str]:
    """Stations 1 to 3; returns the store's URL and an administrator's token."""
    screen = stage.screen
    with station(screen, "a store starts on this machine"):
        url = start_store(stage.cast, data=stage.data, access_log=stage.access_log)
        screen.note(f"{url}/ with the indexes pypi (mirror), stable, testing, unstable")
    with station(screen, "the store learns who counts: a worker, a QA signer, a name"):
        store = [*CONVEYOR, "store"]
        at: list[str | Path] = ["--data", stage.data]
        call(
            [*store, "worker", "add", "worker-1", "--credentials", stage.credentials, *at],
            folder=stage.folder,
        )
        key = make_signing_key(stage.folder)
        call([*store, "signer", "add", SIGNER, "--key", key.with_suffix(".pub"), *at], folder=stage.folder)
        call([*store, "claim", PROJECT, *at], folder=stage.folder)
        token = call([*store, "token", "create", "--user", "admin", *at], folder=stage.folder).strip()
        screen.note(f"worker-1 may give test evidence; {SIGNER} may sign; the name {PROJECT} is claimed")
        found = means()
        if found.kind != "jail":
            call([*store, "index", "set", "stable", "--isolation", "any", *at], folder=stage.folder)
            screen.note(
                f"this machine cannot isolate ({found.lacking}), which stable would refuse; overridden:"
            )
            screen.note("never in earnest: conveyor store index set stable --isolation any")
        stage.cast.start(
            "worker",
            [*CONVEYOR, "pipeline", "worker", "--credentials", stage.credentials, "--store", url,
             "--state", stage.folder / "worker"],
        )  # fmt: skip
    return url, token


def _push_candidate(stage: Stage, url: str, token: str) -> None:
    """Stations 3 and 4: a project, its commit and its release candidate."""
    screen = stage.screen
    with station(screen, f"conveyor new {PROJECT} --kind model"):
        call([*CONVEYOR, "new", PROJECT, "--kind", "model"], folder=stage.folder)
        repository = make_bare_repository(stage.folder, name=PROJECT, store_url=url, token=token)
        call(
            [
                *CONVEYOR,
                "store",
                "repository",
                "add",
                PROJECT,
                str(repository),
                "--local",
                "--data",
                stage.data,
            ],
            folder=stage.folder,
        )
        _git(stage, "remote", "add", "origin", str(repository))
        files = len(_git(stage, "ls-files").splitlines())
        screen.note(f"{files} files in its first commit; a push to its bare repository starts a run")
    with station(screen, f"git push v{CANDIDATE}: packaging job, unstable, testing job, testing"):
        _git(stage, "tag", f"v{CANDIDATE}")
        _git(stage, "push", "-q", "origin", f"v{CANDIDATE}")
        _follow_run(stage, url, token, ref=f"refs/tags/v{CANDIDATE}")
        expect_index(url, token, CANDIDATE, "testing")


def _see_promotion_refused(stage: Stage, url: str, token: str) -> None:
    """Station 5: the administrator asks for "stable" without QA's signature."""
    with station(stage.screen, f"nobody signed {CANDIDATE}: stable refuses it, even from an administrator"):
        try:
            connect(url, token=token).releases.promote(PROJECT, CANDIDATE, to="stable")
        except PromotionRefused as refusal:
            for verdict in refusal.verdicts:
                stage.screen.note(f"{verdict.gate}: {verdict.outcome} ({verdict.reason})")
        else:
            raise StepFailed(f"{PROJECT} {CANDIDATE} went to stable without a signature")


def _push_final(stage: Stage, url: str, token: str) -> None:
    """Station 6: QA signs the final version on the commit that was tested."""
    with station(
        stage.screen, f"QA signs v{FINAL} on the same commit: derived from the tested rc, tested, stable"
    ):
        key = stage.folder / "qa-key"
        signing = ["-c", "gpg.format=ssh", "-c", f"user.signingkey={key}"]
        _git(
            stage, *signing, "tag", "-s", "-m", f"{PROJECT} {FINAL}", f"v{FINAL}", f"v{CANDIDATE}^{{commit}}"
        )
        _git(stage, "push", "-q", "origin", f"v{FINAL}")
        _follow_run(stage, url, token, ref=f"refs/tags/v{FINAL}")
        expect_index(url, token, FINAL, "stable")


def _consume(stage: Stage, url: str, token: str) -> None:
    """Stations 7 and 8: the consumer's machine."""
    screen = stage.screen
    consumer = stage.folder / "consumer"
    python = consumer / "bin" / "python"
    report = stage.folder / "pip-report.json"
    with station(screen, f"a consumer: pip install {PROJECT}=={FINAL}, and predict"):
        call([*CONVEYOR[:1], "-m", "venv", consumer], folder=stage.folder)
        call(
            [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-cache-dir",
             "--report", report, "--index-url", f"{url}/stable/simple/", f"{PROJECT}=={FINAL}"],
            folder=stage.folder,
        )  # fmt: skip
        for label, probability, truth in json.loads(call([python, "-I", "-c", PREDICT], folder=stage.folder)):
            screen.note(f"predicted {label} (probability {probability:.3f}), diagnosed {truth}")
    with station(screen, "the store's log and its evidence prove what was installed"):
        served = proof.read_served_files(stage.access_log, agent="pip/")
        installed = proof.read_pip_report(report)
        count = proof.prove_origin(installed, served, own=PROJECT, stage="stable", mirror="pypi")
        screen.note(
            f"{count['stable']} file from stable, {count['pypi']} from the mirror, none from anywhere else"
        )
        release = connect(url, token=token).releases.get(PROJECT, FINAL)
        for sentence in proof.prove_custody(installed, release, stage="stable"):
            screen.note(sentence)


def _follow_run(stage: Stage, url: str, token: str, *, ref: str) -> None:
    """Show the steps of the newest run of ``ref`` until it has ended; StepFailed unless it succeeded."""
    client = connect(url, token=token)
    shown: set[str] = set()
    deadline = time.monotonic() + RUN_SECONDS
    while time.monotonic() < deadline:
        run = next((one for one in client.runs.newest() if one.ref == ref), None)
        if run is not None:
            for step in run.steps:
                if step.state != "running" and step.name not in shown:
                    shown.add(step.name)
                    stage.screen.note(
                        f"{step.name:<28} {step.state:<9} {step.seconds:5.1f} s  {step.summary}".rstrip()
                    )
            if run.has_ended:
                if run.state != "succeeded":
                    raise StepFailed(f"the run of {ref} ended as {run.state}: {run.detail}")
                return
        stage.cast.check()
        wait_for(POLL_SECONDS)
    raise StepFailed(f"the run of {ref} did not end within {RUN_SECONDS:.0f} s")


def expect_index(url: str, token: str, version: str, index: str) -> None:
    """Raise StepFailed unless that release of the project is in ``index`` now."""
    found = connect(url, token=token).releases.get(PROJECT, version).index
    if found != index:
        raise StepFailed(
            f'{PROJECT} {version} is in "{found}", not in "{index}"',
            hint="to look into its store, which is ended now, play it again with --folder FOLDER, then: "
            f"conveyor why {PROJECT} {version} --data FOLDER/store",
        )


def _look_around(stage: Stage, url: str, *, keep: bool) -> None:
    """Say where to look, and whether the store is still running."""
    if not keep:
        stage.screen.say("nothing is left running; to look around, play it again: conveyor demo --keep")
        return
    store = next(process for name, process in stage.cast.running if name == "store")
    password = stage.data / "initial-admin-password"
    stage.screen.say(
        f"\nthe store is still running: {url}/ (user admin, password in {password})\n"
        f"  install     pip install --index-url {url}/stable/simple/ {PROJECT}=={FINAL}\n"
        f"  ask         conveyor why {PROJECT} {CANDIDATE} --to stable --url {url}\n"
        f"  the log     {stage.access_log}\n"
        f"  the project {stage.checkout}\n"
        f"  stop it     kill {store.pid} && rm -r {stage.folder}"
    )


def _git(stage: Stage, *words: str) -> str:
    return call(["git", *words], folder=stage.checkout)


@contextmanager
def _working_folder(folder: Path | None, *, keep: bool) -> Iterator[Path]:
    """An empty folder: the given one, which stays, or a temporary one, which is removed unless ``keep``."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise InvalidInput(
                f"{folder} is not empty", hint="name a folder that is empty or does not exist yet"
            )
        yield folder.resolve()
        return
    place = Path(tempfile.mkdtemp(prefix="conveyor-demo-"))
    has_ended_well = False
    try:
        yield place
        has_ended_well = True
    finally:
        if not (keep and has_ended_well):
            shutil.rmtree(place, ignore_errors=True)


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the story as Ctrl-C does, so that the cast is always stopped."""

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

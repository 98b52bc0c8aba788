"""The packaging job: from a commit or a tag to published files with evidence of how they were built.

1. resolve: which commit, and which tag this job is for (never asked of ``git describe``)
2. clone: fresh, with that tag alone; which project and which version it is
3. known: if this commit and tag already have a release on the way of this run, it is not built again;
   else the store is asked whether it would take one, before anything long begins
4. candidate: for a final, the tested release candidate of the same commit
   - if there is none: environment, declared data and training, of a project that declares a training; what
     an earlier run trained at this commit is taken by digest instead, from this worker or from a release
   - if there is one: its payload is put in place by digest; nothing is trained again
5. build: in a second, untouched clone; sdist, wheel from sdist, and both are opened and checked
6. prove: for a final, derive it from the candidate and compare with what was just built
7. rehearse: exactly what the testing job will do, with the file that is to be published (``rehearsal``);
   the documentation is built meanwhile
8. publish: upload to the first index of the way, evidence for each file; then all are visible at once; what
   another run of the same commit and tag has published meanwhile is taken instead
9. tag: the tag object, so that the store sees who signed it; also for a release that was known before

Every step may run twice: it empties the folder it writes to, and the store accepts the same file and the same
fact again.
"""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from conveyor.domain.releases.facts import builds_of
from conveyor.domain.releases.gates.rules import NO_RULES
from conveyor.domain.releases.tags import is_signed
from conveyor.domain.runs.states import RunReport
from conveyor.domain.words.names import is_final, parse_version
from conveyor.errors import Conflict, ConveyorError, NotFound
from conveyor.pipeline.engine.remotes import addresses_of_data
from conveyor.pipeline.engine.steps import Done
from conveyor.pipeline.jobs import candidates, payloads
from conveyor.pipeline.jobs.distributions import build, publish, publish_to
from conveyor.pipeline.jobs.documentation import build_docs, plan_docs
from conveyor.pipeline.jobs.promotion import goals_of, index_on
from conveyor.pipeline.jobs.rehearsal import rehearse
from conveyor.pipeline.jobs.sources import Source, asking, clone, read_clone, resolve
from conveyor.project.backend import make_backend, read_build_system
from conveyor.project.clones import copy_for_foreign, tag_object
from conveyor.project.data import bring
from conveyor.project.environment import Environment, make_environment
from conveyor.project.interpreters import asked_by, python_of, pythons_to_test_on
from conveyor.project.resolution import INSTALL_SECONDS
from conveyor.project.settings import table_in
from conveyor.project.suites import check_requirements, pytest_settings, requirements_of_tests
from conveyor.project.train import train
from conveyor.project.uv import run_uv
from conveyor.project.versions import forced_version, named_version

if TYPE_CHECKING:
    from collections.abc import Callable

    from conveyor.client.elsewhere import Elsewhere
    from conveyor.domain.releases.evidence import FactsOfEquivalence
    from conveyor.domain.releases.gates.rules import Rules
    from conveyor.domain.releases.standing import Release
    from conveyor.pipeline.engine.isolation import Workplace
    from conveyor.pipeline.engine.steps import Steps
    from conveyor.pipeline.engine.worker import Keeper
    from conveyor.project.settings import Project

TRAINING_SECONDS = 6 * 3600.0
WORKSHOP = "workshop"
"""The folder of a run in which its model is trained."""


@dataclass(frozen=True)
class Packaged:
    """A release that is in the store, somewhere on the way of the run."""

    project: str
    version: str
    source: Source


def package(
    steps: Steps, place: Workplace, worker: Keeper, *, repository: str, ref: str, way: tuple[str, ...],
    project: str | None = None, target: tuple[Elsewhere, str] | None = None,
) -> Packaged | None:  # fmt: skip
    """Carry a commit or tag into the first index of the way; the numbers are those at the head of this file.

    ``project`` says which of the commit's projects is meant; ``None`` leaves that to ``project_of_commit``.
    ``target``: another store that gets the files instead, and the mirror of it here.

    Returns ``None`` if there is nothing to do: a commit that carries a release tag has no development
    version, and the job never guesses which of its tags is meant; each has its own run.

    Raises:
        ProjectError: the project cannot be packaged as it is.
        StepFailed: training, the proof or the rehearsal failed.
        Conflict: the store has other files under that version, or the release is in an index elsewhere.
    """
    asked = steps("resolve", lambda: resolve(place.remote(repository), ref, project))  # 1
    steps.note(RunReport(commit=asked.commit))
    cloned = steps("clone", lambda: clone(place, asked, asking(place, worker, way[0])))  # 2
    name, source = cloned.project, cloned.source
    steps.note(RunReport(project=name, version=source.planned if source.tag is not None else None))
    if source.tag is None and cloned.releases:
        return None
    version = None
    if target is None:  # what another store has, only its answer to the upload tells
        version = steps("look up", lambda: look_up(worker, name, source, way))  # 3
    if version is None:
        version = make_release(steps, place, worker, name, source, way, target)
    steps.note(RunReport(version=version))
    if source.tag is not None and target is None:
        steps("tag", lambda: hand_over_tag(place, worker, source, name))  # 9
    return Packaged(name, version, source)


def make_release(
    steps: Steps, place: Workplace, worker: Keeper, name: str, source: Source, way: tuple[str, ...],
    target: tuple[Elsewhere, str] | None = None,
) -> str:  # fmt: skip
    """Steps 4 to 8: build a release that the store does not have, publish it and return its version."""
    entry = way[0]
    goals = steps("pythons", lambda: find_goals(place, worker, source, way))  # 3
    candidate = None
    if target is None:
        hosts = steps("ask store", lambda: ask_store(worker, name, source, entry))  # 3
        place.open_hosts(hosts)
    if target is None and source.tag is not None and is_final(source.version):
        candidate = steps("find candidate", lambda: candidates.find(worker, place, name, source))  # 4
    if candidate is None:
        project = read_clone(place, source)
        if project.train and not steps(
            "look for payload", lambda: payloads.take(place, worker, project, source, entry)
        ):
            steps("workshop", lambda: make_workshop(place))
            if project.declared.datasets:
                steps("data", lambda: bring_data(place, source))
            steps("environment", lambda: prepare(place, worker, source, entry))
            steps("train", lambda: train_model(place, source, entry))
    else:
        steps("take payload", lambda: candidates.take_payload(place, source, candidate))
    built = steps("build", lambda: build(place, worker, source, entry))  # 5
    proofs: dict[str, FactsOfEquivalence] = {}
    if candidate is not None:
        built, proofs = steps("prove", lambda: candidates.prove(place, source, candidate, built))  # 6
    docs = steps.begin("docs", lambda: build_docs(place, source, built, worker.index_url(entry)))  # 7
    steps("rehearse", lambda: rehearse(place, worker, source, goals, built, candidate))  # 7
    has_docs = docs()

    def publishing() -> Done[str]:
        if target is not None:
            return publish_to(place, worker, source, built, *target)
        return publish(place, worker, source, entry, built, proofs, has_docs=has_docs)

    if target is None:
        version = steps("publish", lambda: unless_known(publishing, worker, name, source, way))  # 8
    else:
        version = steps("publish", publishing)
    payloads.forget(place, source, entry)
    return version


def look_up(worker: Keeper, name: str, source: Source, way: tuple[str, ...]) -> Done[str | None]:
    """Step 3: the version under which this very commit and tag were published before, if they were.

    Raises:
        Conflict: they were published to an index that is not on the way of this run.
    """
    for release in published_before(worker, name, source):
        version = parse_version(release.version)
        of_tag = source.version == version if source.tag is not None else version.is_devrelease
        evidence = worker.seen(release.evidence)
        kinds = {file.packagetype for file in release.files if builds_of(evidence, file.sha256)}
        if of_tag and kinds >= {"sdist", "bdist_wheel"}:
            where = index_on(way, release)
            return Done(release.version, f'{release.version} is in "{where}" already')
    return Done(None, "not published yet")


def published_before(worker: Keeper, name: str, source: Source) -> tuple[Release, ...]:
    """The releases that were built from this commit, as far as this worker goes by what was told of them."""
    if worker.job is None:
        return worker.client.releases.of_commit(name, source.commit)
    try:  # what jobs tell of commits is not looked for: any job could name any commit
        found = worker.client.releases.get(name, str(source.version))
    except NotFound:
        return ()
    builds = [facts for file in found.files for facts in builds_of(worker.seen(found.evidence), file.sha256)]
    return (found,) if {facts.commit for facts in builds} == {source.commit} else ()


def unless_known(
    publishing: Callable[[], Done[str]], worker: Keeper, name: str, source: Source, way: tuple[str, ...]
) -> Done[str]:
    """Step 8: publish, unless another run of the same commit and tag has done so meanwhile.

    Its files may hold other bytes, because many backends write the time of the build into an sdist. They
    were tested and published, so this run goes on with them.

    Raises:
        Conflict: the files of this version are of another commit or tag.
    """
    try:
        return publishing()
    except Conflict:
        known = look_up(worker, name, source, way)
        if known.value is None:
            raise
        return Done(known.value, f"{known.summary}: another run published it", is_skipped=True)


def ask_store(worker: Keeper, name: str, source: Source, entry: str) -> Done[tuple[str, ...]]:
    """Step 3: whether the store would take this version from this worker; raises what its upload would.

    The value is the hosts that builds of the project may reach.
    """
    worker.client.releases.check_publishing(name, str(source.version), index=entry)
    hosts = worker.client.policies.rules(name).get(entry, NO_RULES).hosts
    told = f"; its builds may reach {', '.join(hosts)}" if hosts else ""
    return Done(hosts, f'{name} {source.version} may enter "{entry}"{told}')


def make_workshop(place: Workplace) -> Done[None]:
    """Step 4: a copy of the checkout to train in, so that the checkout stays as git made it."""
    checkout = place.folder / "checkout"
    copy_for_foreign(checkout, checkout, place.folder / WORKSHOP)
    return Done(None, "a copy of the checkout")


def prepare(place: Workplace, worker: Keeper, source: Source, entry: str) -> Done[None]:
    """Step 4: a fresh environment of the project's Python, with the project in it, editable.

    The project's own backend makes the editable wheel, for which the version is forced: a variable that names
    no project, set for uv, would give that version to each requirement that is built from source as well.

    The project's requirements are known only after that. The same files are fetched meanwhile, which saves
    seconds when a mirror sees them for the first time.
    """
    project = read_clone(place, source)
    python = python_of(project)
    own = place.fresh("editable")
    system = read_build_system(project.document, where="pyproject.toml")
    with ThreadPoolExecutor(1) as threads, place.log("environment") as write:
        around = place.around(worker.index_url(entry), write)
        environment = make_environment(place.fresh("environment"), python=str(python.path), around=around)
        threads.submit(_fetch_ahead, place, project, environment)
        backend = make_backend(
            system, own / "environment", python=str(python.path),
            hook_variables=forced_version(project, source.version), around=around,
        )  # fmt: skip
        top = place.folder / WORKSHOP
        wheel = backend.editable(top / source.folder, own, top=top)
        environment.install(str(wheel), given=[wheel], timeout_seconds=INSTALL_SECONDS)
    return Done(None, f"{project.display_name} and its requirements, from the store; Python {python.name}")


def find_goals(
    place: Workplace, worker: Keeper, source: Source, way: tuple[str, ...]
) -> Done[dict[str, Rules]]:
    """Step 3: the indexes that the release is to be tested for, each with what it asks of the project.

    This machine has all Pythons that they and the project name.

    Raises:
        MissingTool: this machine lacks some.
        ProjectError: what the project or an index says about them contradicts ``requires-python``; or its
            tests or documentation require what no index supplies, which would else be found out at the end.
    """
    project = read_clone(place, source)
    check_requirements(project, requirements_of_tests(project, pytest_settings(project.root)))
    if (docs := plan_docs(project, place.folder / "docs")) is not None:
        check_requirements(project, docs.requirements)
    goals = goals_of(way, str(source.version))
    known = worker.client.policies.rules(project.name)
    rules = {goal: known.get(goal, NO_RULES) for goal in goals}
    asking = {asked_by(goal): one.pythons for goal, one in rules.items()}
    found = ", ".join(one.name for one in pythons_to_test_on(project, asking))
    return Done(rules, f"Python {found}", {"pythons": found})


def bring_data(place: Workplace, source: Source) -> Done[None]:
    """Step 4: the declared data, from the worker's cache or its address; another digest is refused."""
    project = read_clone(place, source)
    with place.log("data") as write:
        brought = bring(
            replace(project, root=place.folder / WORKSHOP / source.folder), place.cache / "data",
            on_progress=lambda name, done, total: write(f"{name}: {done} of {total or 'unknown'} bytes"),
            judge=partial(addresses_of_data, hosts=place.grants.data_hosts),
        )  # fmt: skip
    listed = ", ".join(f"{one.name} {one.declared.sha256[:12]}…" for one in brought)
    digests = {name: one.sha256 for name, one in project.declared.datasets.items()}
    return Done(None, listed or "all of it is in the repository", {"data": digests})


def train_model(place: Workplace, source: Source, entry: str) -> Done[None]:
    """Step 4: the payload, trained in the clone, and kept until it is published in the index ``entry``."""
    project = read_clone(place, source)
    with place.log("train") as write:
        around = place.around(on_line=write).with_variables(named_version(project, source.version))
        result = train(
            project, Environment(place.folder / "environment", around),
            where=replace(project, root=place.folder / WORKSHOP / source.folder),
            granted=place.grants.train_env, timeout_seconds=TRAINING_SECONDS,
        )  # fmt: skip
    payloads.keep(place, project, source, entry, result.payload)
    listed = ", ".join(f"{Path(file.path).name} {file.sha256[:12]}…" for file in result.payload)
    return Done(None, listed, {"payload": {file.path: file.sha256 for file in result.payload}})


def hand_over_tag(place: Workplace, worker: Keeper, source: Source, project: str) -> Done[None]:
    """Step 9. A tag that is unsigned, or signed by a stranger, is not a failure: the gate reports it."""
    raw = tag_object(place.remote(source.repository), source.tag) if source.tag is not None else None
    if raw is None or not is_signed(raw):
        told = "" if is_final(source.version) else "; a candidate needs no signature"
        kind = "a lightweight tag, so nobody signed it" if raw is None else "not signed"
        return Done(None, f"{source.tag} is {kind}{told}", is_skipped=True)
    try:
        worker.client.evidence.add_tag(project, raw)
    except ConveyorError as error:
        if error.http_status >= 500:
            raise
        return Done(None, f"{source.tag} does not count as a signature: {error.message}", is_skipped=True)
    return Done(None, f"the signature of {source.tag} is accepted")


def _fetch_ahead(place: Workplace, project: Project, environment: Environment) -> None:
    """Fetch wheels of declared requirements into the cache; a failure here shows up again later."""
    wanted = named_requirements(project)
    if not wanted:
        return
    nowhere = place.fresh("ahead")
    words = ["pip", "install", "--quiet", "--only-binary=:all:", "--python", str(environment.python)]
    with suppress(ConveyorError):
        run_uv([*words, "--target", str(nowhere), "--", *wanted], replace(environment.around, on_line=None))
    shutil.rmtree(nowhere, ignore_errors=True)


def named_requirements(project: Project) -> list[str]:
    """The declared requirements that an index answers by name, without those at an address.

    The keeper's own uv fetches these, outside of the wall: no address may come from the project, be it a URL,
    a repository or a path of this machine. So each is parsed here and written anew.
    """
    wanted = table_in(project.document, "project").get("dependencies", ())
    found = []
    for text in wanted if isinstance(wanted, list) else ():
        with suppress(InvalidRequirement):
            if isinstance(text, str) and (one := Requirement(text)).url is None:
                one.name = canonicalize_name(one.name)  # uv takes NAME.whl for a path
                found.append(str(one))
    return found

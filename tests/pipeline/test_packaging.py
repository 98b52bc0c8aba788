"""The packaging job beside others of the same commit, and with a store that has lost something."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from conveyor.domain.releases.evidence import statement
from conveyor.errors import Conflict, StoreUnreachable
from conveyor.pipeline.engine.isolation import Workplace
from conveyor.pipeline.engine.steps import Done
from conveyor.pipeline.jobs import payloads
from conveyor.pipeline.jobs.packaging import named_requirements, unless_known
from conveyor.pipeline.jobs.sources import Source
from conveyor.project.model import read_payload
from conveyor.project.settings import read_project
from distributions_made import Made, make_sdist, make_wheel
from pipeline.projects import HATCHLING, MODEL, make_project
from releases_made import COMMIT, predicate_of_build

if TYPE_CHECKING:
    from pathlib import Path

    from conveyor.pipeline.engine.worker import Keeper
    from pipeline.conftest import Town

pytestmark = [pytest.mark.xdist_group("pipeline"), pytest.mark.timeout(300)]
WAY = ("unstable", "testing")


@dataclass(frozen=True)
class Published:
    """A candidate that a run of ``COMMIT`` has published."""

    worker: Keeper
    name: str
    sdist: Made
    source: Source


def published(
    town: Town, folder: Path, name: str, *, payload: tuple[tuple[str, str], ...] = (),
    members: dict[str, bytes] | None = None,
) -> Published:  # fmt: skip
    worker = town.in_a_run(name)
    town.claim(name)
    sdist, wheel = make_sdist(name, "1.0.0rc1", extra=members), make_wheel(name, "1.0.0rc1")
    trained = [{"path": path, "sha256": sha256} for path, sha256 in payload]
    for made, source in ((sdist, None), (wheel, sdist.sha256)):
        worker.client.files.upload("unstable", made.write(folder))
        predicate = predicate_of_build(
            made, name=name, version="1.0.0rc1", tag="v1.0.0rc1", built_from=source, payload=trained
        )
        worker.testify(statement("build", filename=made.filename, sha256=made.sha256, predicate=predicate))
    found = Source("/srv/demo.git", COMMIT, "v1.0.0rc1", planned="1.0.0rc1", project=name)
    return Published(worker, name, sdist, found)


def test_run_goes_on_with_what_another_run_of_its_tag_has_published_meanwhile(
    town: Town, tmp_path: Path
) -> None:
    """Two workers were asked for one tag, and the sdist of the second states another time of its build."""
    there = published(town, tmp_path, "leda")
    later = make_sdist("leda", "1.0.0rc1", extra={"built": b"later"}).write(tmp_path)

    def publish() -> Done[str]:
        there.worker.client.files.upload("unstable", later, is_open=True)
        return Done("1.0.0rc1")

    done = unless_known(publish, there.worker, "leda", there.source, WAY)
    assert (done.value, done.is_skipped) == ("1.0.0rc1", True)
    with pytest.raises(Conflict):  # the version is another commit's
        unless_known(publish, there.worker, "leda", replace(there.source, commit="f" * 40), WAY)


def test_store_that_cannot_hand_out_a_trained_file_is_no_reason_to_train_again(
    town: Town, tmp_path: Path
) -> None:
    root = make_project(tmp_path / "repository", name="thebe", pyproject=HATCHLING + MODEL)
    path = "src/thebe/model/weights.bin"
    there = published(town, tmp_path, "thebe", payload=((path, "f" * 64),), members={path: b"weights"})
    place, project = Workplace(tmp_path / "place", cache=tmp_path / "cache"), read_project(root)
    (blob,) = (town.data / "blobs").rglob(there.sdist.sha256)
    blob.chmod(0o600)
    blob.write_bytes(bytes(blob.stat().st_size))
    with pytest.raises(StoreUnreachable, match="came with other bytes"):
        payloads.take(place, there.worker, project, there.source, "unstable")


def test_what_was_trained_for_one_index_or_project_is_not_taken_for_another(
    town: Town, tmp_path: Path
) -> None:
    root = make_project(tmp_path / "repository", name="metis", pyproject=HATCHLING + MODEL)
    there = published(town, tmp_path, "metis")
    place, project = Workplace(tmp_path / "place", cache=tmp_path / "cache"), read_project(root)
    source = replace(there.source, commit="e" * 40, project="metis")
    file = root / project.payload[0]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"weights")
    payloads.keep(place, project, source, "team/hidden", read_payload(project))
    file.unlink()
    for other, entry in ((source, "unstable"), (replace(source, project="other"), "team/hidden")):
        assert not payloads.take(place, there.worker, project, other, entry).value
    assert not file.exists()
    assert payloads.take(place, there.worker, project, source, "team/hidden").value
    assert file.read_bytes() == b"weights"


def test_requirements_at_an_address_are_not_fetched_ahead_by_the_worker_itself(tmp_path: Path) -> None:
    declared = [
        "NumPy[extra]>=2; python_version > '3'", "one @ http://127.0.0.1:9/one-1.0-py3-none-any.whl",
        "two @ git+https://git.example/two", "http://127.0.0.1:9/three-1.0.tar.gz", "./four", "five.whl", 6,
    ]  # fmt: skip
    project = read_project(make_project(tmp_path / "repository", name="carme"))
    project.document["project"]["dependencies"] = declared
    found = named_requirements(project)
    assert found == ['numpy[extra]>=2; python_version > "3"', "five-whl"]

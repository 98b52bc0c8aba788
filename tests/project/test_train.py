"""Training: the command, the files it must write, and the environment it runs in."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest

from conveyor.errors import ProjectError, StepFailed
from conveyor.project.environment import Environment, make_environment
from conveyor.project.foreign import Surroundings
from conveyor.project.settings import read_project
from conveyor.project.train import is_installed_from, train, training_environment
from project.checkouts import TRAINING, commit, new_project, small_model

if TYPE_CHECKING:
    from pathlib import Path

    from conveyor.project.settings import Project


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return make_environment(tmp_path_factory.mktemp("environment") / "venv")


SOURCE = {"PYTHONPATH": "src"}  # instead of installing the project, which other tests do


def test_training_names_what_it_wrote(tmp_path: Path, environment: Environment) -> None:
    project = read_project(small_model(tmp_path))
    lines: list[str] = []
    result = train(project, Environment(environment.path, Surroundings(SOURCE, on_line=lines.append)))
    digest = hashlib.sha256(bytes(range(64))).hexdigest()
    assert [(file.path, file.sha256, file.size_bytes) for file in result.payload] == [
        ("src/small/model/weights.bin", digest, 64)
    ]
    assert result.manifest is None
    assert result.seconds > 0
    assert lines == ["trained on nothing"]


def test_worker_gives_training_only_the_variables_that_its_operator_names(
    tmp_path: Path, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = small_model(tmp_path, training="import os\nprint({'REGION', 'DATABASE'} - {*os.environ})\n")
    file = root / "pyproject.toml"
    command = 'train = ["python", "-m", "small.training"]\n'
    before = file.read_text()
    assert command in before
    table = '[tool.conveyor.train]\ncommand = ["python", "-m", "small.training"]\n'

    def declaring(*names: str) -> Project:
        file.write_text(f"{before.replace(command, '')}\n{table}env = {json.dumps(names)}\n")
        return read_project(root)

    for name in ("REGION", "DATABASE", "CONVEYOR_ENGINE_DATABASE_URL"):
        monkeypatch.setenv(name, "mine")
    there = Environment(environment.path, Surroundings(SOURCE))
    asked = declaring("REGION", "DATABASE", "CONVEYOR_ENGINE_DATABASE_URL")
    with pytest.raises(ProjectError) as refused:
        train(asked, there, granted={"REGION", "CONVEYOR_ENGINE_DATABASE_URL"})
    assert "declares DATABASE, CONVEYOR_ENGINE_DATABASE_URL for its training" in refused.value.message
    assert refused.value.hint is not None
    assert refused.value.hint.endswith('names what it gives: CONVEYOR_JOB_TRAIN_ENV="DATABASE"')
    with pytest.raises(StepFailed) as ran:  # it writes no payload
        train(declaring("REGION"), there, granted={"REGION", "DATABASE"})
    assert ran.value.log == "{'DATABASE'}\n"
    with pytest.raises(StepFailed) as here:
        train(asked, there)
    assert here.value.log == "set()\n"


def test_training_again_writes_anew(tmp_path: Path, environment: Environment) -> None:
    project = read_project(small_model(tmp_path))
    first = train(project, Environment(environment.path, Surroundings(SOURCE)))
    assert train(project, Environment(environment.path, Surroundings(SOURCE))).payload == first.payload


def test_command_that_writes_nothing_does_not_pass_with_old_files(
    tmp_path: Path, environment: Environment
) -> None:
    root = small_model(tmp_path)
    train(read_project(root), Environment(environment.path, Surroundings(SOURCE)))
    commit(root, {"src/small/training.py": "print('all is up to date')\n"})
    with pytest.raises(StepFailed, match=r"did not write src/small/model/weights\.bin"):
        train(read_project(root), Environment(environment.path, Surroundings(SOURCE)))


def test_failing_command_carries_its_log(tmp_path: Path, environment: Environment) -> None:
    root = small_model(tmp_path, training="print('before')\nraise SystemExit('no data')\n")
    with pytest.raises(StepFailed, match="exit code 1") as caught:
        train(read_project(root), Environment(environment.path, Surroundings(SOURCE)))
    assert "before" in caught.value.log
    assert "no data" in caught.value.log


def test_endless_training_is_ended(tmp_path: Path, environment: Environment) -> None:
    root = small_model(tmp_path, training="import time\ntime.sleep(600)\n")
    with pytest.raises(StepFailed, match="ended after 1 s"):
        train(read_project(root), Environment(environment.path, Surroundings(SOURCE)), timeout_seconds=1)


def test_project_without_training_says_what_to_do(tmp_path: Path, environment: Environment) -> None:
    with pytest.raises(ProjectError) as caught:
        train(read_project(new_project(tmp_path)), environment)
    assert "under [tool.conveyor]: train = " in (caught.value.hint or "")


def test_no_environment_is_made_for_a_project_without_training(tmp_path: Path) -> None:
    project = read_project(new_project(tmp_path))
    with pytest.raises(ProjectError, match="declares no training command"):
        training_environment(project)
    assert not (project.root / ".venv").exists()


def test_manifest_that_vouches_for_other_bytes_is_refused(tmp_path: Path, environment: Environment) -> None:
    manifest = {
        "format": 1,
        "files": [{"path": "weights.bin", "sha256": "00" * 32}],
        "schema_sha256": "00" * 32,
        "libraries": {},
        "metrics": {},
        "split": "none",
    }
    writing = f"(folder / 'model.json').write_text({json.dumps(manifest)!r})\n"
    root = small_model(tmp_path, training=TRAINING + writing)
    pyproject = (root / "pyproject.toml").read_text()
    both = 'payload = ["src/small/model/weights.bin", "src/small/model/model.json"]'
    (root / "pyproject.toml").write_text(pyproject.replace('payload = ["src/small/model/weights.bin"]', both))
    with pytest.raises(ProjectError, match=r"vouches for src/small/model/weights\.bin"):
        train(read_project(root), Environment(environment.path, Surroundings(SOURCE)))


def test_manifest_that_is_cut_off_names_its_path_and_the_next_step(
    tmp_path: Path, environment: Environment
) -> None:
    root = small_model(
        tmp_path, training=TRAINING + "(folder / 'model.json').write_text('{\"format\": 1, ')\n"
    )
    pyproject = (root / "pyproject.toml").read_text()
    both = 'payload = ["src/small/model/weights.bin", "src/small/model/model.json"]'
    (root / "pyproject.toml").write_text(pyproject.replace('payload = ["src/small/model/weights.bin"]', both))
    with pytest.raises(ProjectError, match=r"src/small/model/model\.json: .* cut off or damaged") as caught:
        train(read_project(root), Environment(environment.path, Surroundings(SOURCE)))
    assert caught.value.hint == f"train again: conveyor train --project {root}"


def test_environment_of_the_project_is_made_and_found_again(
    tmp_path: Path, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another active environment, in which the project is not installed, is left alone."""
    project = read_project(small_model(tmp_path))
    monkeypatch.setenv("VIRTUAL_ENV", str(environment.path))
    own = training_environment(project)
    assert own.path == project.root / ".venv"
    assert is_installed_from(project, own)
    assert not is_installed_from(project, environment)
    lines: list[str] = []
    assert training_environment(project, on_line=lines.append).path == own.path
    assert lines == []  # nothing was installed again


def test_active_environment_with_the_project_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = read_project(small_model(tmp_path))
    active = make_environment(tmp_path / "active")
    active.install(options=("-e", str(project.root)))
    monkeypatch.setenv("VIRTUAL_ENV", str(active.path))
    assert training_environment(project) == active
    assert not (project.root / ".venv").exists()

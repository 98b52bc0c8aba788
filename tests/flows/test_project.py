"""A model from ``conveyor new`` to a prediction in a fresh environment, with the commands a user types."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import venv
from typing import TYPE_CHECKING

import pytest

from conveyor.project.environment import Environment, make_environment, run_in
from conveyor.project.foreign import clean_environment_variables
from project.checkouts import git, new_project

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("projects")]

PREDICT = """\
import json, tumor
from sklearn.datasets import load_breast_cancer
data = load_breast_cancer()
said = tumor.predict(data.data)
right = sum(data.target_names[t] == p.label for t, p in zip(data.target, said))
proof = tumor.verify()
print(json.dumps({"file": tumor.__file__, "right": right / len(said), "version": tumor.info().version,
    "commit": tumor.info().commit, "golden": proof.golden_rows, "sha256": proof.payload_sha256}))
"""


SPHINX = ["sphinx", "-W", "-q", "docs", "docs/_build/html"]


def conveyor(*arguments: str, folder: Path, home: Path) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does: another process, an empty home, nothing configured."""
    variables = clean_environment_variables() | {"HOME": str(home), "GIT_CONFIG_SYSTEM": os.devnull}
    variables["XDG_CACHE_HOME"] = os.environ.get("XDG_CACHE_HOME", f"{os.environ['HOME']}/.cache")
    command = [sys.executable, "-m", "conveyor", *arguments]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)


def done(finished: subprocess.CompletedProcess[str]) -> str:
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


@pytest.mark.torture  # in every round the demo trains the same model, by a push
def test_model_from_new_to_a_prediction(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    made = conveyor("new", "tumor", "--kind", "model", folder=tmp_path, home=home)
    assert "tumor: 15 files" in done(made)
    assert "git knows no name and address here" in made.stderr
    root = tmp_path / "tumor"

    # A build without a model says what to do; training makes .venv and names what it wrote.
    refused = conveyor("build", folder=root, home=home)
    assert refused.returncode == 8
    assert "hint: train it: conveyor train" in refused.stderr
    trained = conveyor("train", folder=root, home=home)
    digests = re.findall(r"^([0-9a-f]{64}) +\d+  (src/tumor/model/\S+)$", done(trained), flags=re.MULTILINE)
    assert [path.rsplit("/", 1)[1] for _, path in digests] == ["model.joblib", "golden.json", "model.json"]
    assert re.search(r"^roc_auc = 0\.99", trained.stdout, flags=re.MULTILINE)

    # The project's own tests and docs are green, in a checkout that is clean still.
    environment = Environment(root / ".venv")
    environment.install("pytest", options=("-e", ".[docs]"), folder=root)
    for words in (["pytest", "-q", "-p", "no:cacheprovider"], SPHINX):
        checked = run_in(environment, ["python", "-m", *words], folder=root)
        assert checked.return_code == 0, checked.output
    assert git(root, "status", "--porcelain") == ""

    # One commit, two tags, two releases.
    git(root, "tag", "-a", "-m", "candidate", "v0.1.0rc1")
    git(root, "tag", "v0.1.0")
    for tag, version in (("v0.1.0rc1", "0.1.0rc1"), ("v0.1.0", "0.1.0")):
        built = conveyor("build", "--tag", tag, "--out", str(tmp_path / "out"), folder=root, home=home)
        assert f"tumor-{version}-py3-none-any.whl" in done(built)

    # A fresh environment elsewhere: the wheel, what it needs, and predictions on real rows.
    consumer = make_environment(tmp_path / "consumer")
    consumer.install(str(tmp_path / "out/tumor-0.1.0-py3-none-any.whl"))
    said = run_in(consumer, ["python", "-I", "-c", PREDICT], folder=tmp_path)
    assert said.return_code == 0, said.output
    found = json.loads(said.output.splitlines()[-1])
    assert found["file"].startswith(str(consumer.path))
    assert found["right"] > 0.95
    assert (found["version"], found["commit"], found["golden"]) == ("0.1.0", None, 32)
    assert found["sha256"] == digests[0][0]

    # The tests of the project pass against the installed wheel, away from the checkout.
    consumer.install("pytest")
    words = ["python", "-I", "-m", "pytest", "-q", "-p", "no:cacheprovider", str(root / "tests")]
    tests = run_in(consumer, [*words, "--import-mode=importlib", "-c", os.devnull], folder=tmp_path)
    assert tests.return_code == 0, tests.output


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_package_installs_editable_and_its_tests_and_docs_are_green(tmp_path: Path, tool: str) -> None:
    """Plain ``pip install -e .`` in any environment; a new tag is seen by the next installation."""
    root = new_project(tmp_path, "demo")
    environment = Environment(tmp_path / "environment")
    if tool == "pip":
        venv.create(environment.path, with_pip=True)
        words = ["python", "-m", "pip", "install", "-q", "-e", ".[test]"]
        installed = run_in(environment, words, folder=root)
        assert installed.return_code == 0, installed.output
    else:
        make_environment(environment.path).install(options=("-e", ".[test,docs]"), folder=root)
    for words in (["pytest", "-q"], *([SPHINX] if tool == "uv" else [])):
        checked = run_in(environment, ["python", "-m", *words], folder=root)
        assert checked.return_code == 0, checked.output
    assert git(root, "status", "--porcelain") == ""
    if tool == "uv":
        assert (root / "docs/_build/html/index.html").is_file()
        git(root, "tag", "v1.0.0")
        environment.install(options=("-e", "."), folder=root)
        shown = run_in(
            environment, ["python", "-c", "import importlib.metadata as m; print(m.version('demo'))"]
        )
        assert shown.output.strip() == "1.0.0"


def test_wrong_names_and_folders_are_one_clear_message(tmp_path: Path) -> None:
    (tmp_path / "class").mkdir()
    (tmp_path / "class/mine").write_text("mine")
    refused = conveyor("new", "class", folder=tmp_path, home=tmp_path)
    assert refused.returncode == 2
    assert "keyword" in refused.stderr
    assert "is not empty" in refused.stderr
    assert "Traceback" not in refused.stderr

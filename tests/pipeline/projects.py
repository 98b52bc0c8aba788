"""Makes small real projects in real git repositories, for tests of the pipeline."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from conveyor.project.interpreters import ask, places

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

IDENTITY = {
    "GIT_AUTHOR_NAME": "test",
    "GIT_AUTHOR_EMAIL": "test@localhost",
    "GIT_COMMITTER_NAME": "test",
    "GIT_COMMITTER_EMAIL": "test@localhost",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
}
CORE = "def answer() -> int:\n    return 42\n"
TESTS = "from demo.core import answer\n\n\ndef test_answer():\n    assert answer() == 42\n"
HATCHLING = """\
[build-system]
requires = ["hatchling", "hatch-vcs"]
build-backend = "hatchling.build"

[project]
name = "demo"
description = "A small project"
requires-python = ">=3.11"
dynamic = ["version"]

[project.optional-dependencies]
test = ["pytest"]

[tool.hatch.version]
source = "vcs"
[tool.hatch.version.raw-options]
dist_name = "demo"
[tool.hatch.build.targets.wheel]
packages = ["src/demo"]
"""
HATCHLING_VERSION_FILE = HATCHLING + '[tool.hatch.build.hooks.vcs]\nversion-file = "src/demo/_version.py"\n'
SETUPTOOLS_SCM = """\
[build-system]
requires = ["setuptools", "setuptools-scm"]
build-backend = "setuptools.build_meta"

[project]
name = "demo"
description = "A small project"
requires-python = ">=3.11"
dynamic = ["version"]

[project.scripts]
demo = "demo.core:answer"

[tool.setuptools_scm]
version_file = "src/demo/_version.py"
"""

STATED_IN_A_MODULE = """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "demo"
description = "A small project"
requires-python = ">=3.11"
dynamic = ["version"]

[tool.setuptools.dynamic]
version = {attr = "demo.__version__"}
"""
EXTENSION = {
    "setup.py": "from setuptools import Extension, setup\n\n"
    'setup(ext_modules=[Extension("demo._fast", ["src/demo/fast.c"])])\n',
    "src/demo/fast.c": """\
#include <Python.h>
static PyObject *answer(PyObject *self, PyObject *none) { return PyLong_FromLong(42); }
static PyMethodDef methods[] = {{"answer", answer, METH_NOARGS, NULL}, {NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_fast", NULL, -1, methods};
PyMODINIT_FUNC PyInit__fast(void) { return PyModule_Create(&module); }
""",
    "tests/test_fast.py": "from demo._fast import answer\n\n\ndef test_fast():\n    assert answer() == 42\n",
}
"""A compiled module, for ``SETUPTOOLS_SCM``."""


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder, with an identity of its own; its output, stripped."""
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env=os.environ | IDENTITY, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


MODEL = """\
[tool.hatch.build]
artifacts = ["/src/demo/model/weights.bin"]

[tool.conveyor]
kind = "model"
package = "demo"
payload = ["src/demo/model/weights.bin"]
train = ["python", "-m", "demo.training"]
"""
TRAINING = """\
import secrets
from pathlib import Path

folder = Path(__file__).parent / "model"
folder.mkdir(exist_ok=True)
(folder / "weights.bin").write_bytes(secrets.token_bytes(64))  # never the same twice
"""
MODEL_TESTS = """\
from pathlib import Path

import demo


def test_the_model_is_there():
    assert len((Path(demo.__file__).parent / "model" / "weights.bin").read_bytes()) == 64
"""


def make_project(
    folder: Path, *, name: str = "demo", pyproject: str = HATCHLING, files: Mapping[str, str] | None = None
) -> Path:
    """A repository with one commit: package ``demo`` (``answer() == 42``) and a passing test.

    With another ``name`` every "demo" in it, given files included, becomes that name.
    """
    contents = {
        "pyproject.toml": pyproject,
        "README.md": "# demo\n",
        ".gitignore": "_version.py\n/src/demo/model/\n__pycache__/\n*.egg-info/\n/build/\n/dist/\n",
        "src/demo/__init__.py": "",
        "src/demo/core.py": CORE,
        "tests/test_core.py": TESTS,
        **(files or {}),
    }
    for path, content in contents.items():
        file = folder / path.replace("demo", name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content.replace("demo", name))
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "Begin")
    return folder


def clone_of_tag(repository: Path, tag: str, folder: Path) -> Path:
    """A fresh clone that knows this one tag and no other."""
    folder.mkdir(parents=True)
    git(folder, "init", "-q")
    git(folder, "fetch", "-q", "--no-tags", str(repository), f"refs/tags/{tag}:refs/tags/{tag}")
    git(folder, "checkout", "-q", "--detach", tag)
    return folder


def build(checkout: Path) -> tuple[Path, Path]:
    """The sdist and the wheel that the project's own backend builds, with this environment's backends."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PIP_", "UV_")) and name != "PYTHONDONTWRITEBYTECODE"
    }
    epoch = git(checkout, "log", "-1", "--format=%ct")
    subprocess.run(
        [
            *(sys.executable, "-m", "uv", "--no-config", "build", "-q", "--offline", "--no-build-isolation"),
            *("--python", sys.executable, "--out-dir", "dist"),
        ],
        cwd=checkout,
        env=environment | {"SOURCE_DATE_EPOCH": epoch},
        check=True,
        umask=0o022,
    )
    (sdist,) = (checkout / "dist").glob("*.tar.gz")
    (wheel,) = (checkout / "dist").glob("*.whl")
    return sdist, wheel


def second_python() -> str:
    """The name of Debian's PyPy, by which a project or an index asks for it."""
    found = [ask(place.path) for place in places() if place.path.name.startswith("pypy")]
    (name,) = {one.name.rpartition(".")[0] for one in found if not isinstance(one, str)}
    return name


WAITING = "work/*/*/suite/reached"
"""Where a suite that waits leaves a file, in a worker's state folder; it goes on when ``open`` is beside it.
That is done from outside: a suite sees nothing that does not belong to its run."""


def wait_until_tested(state: Path) -> None:
    """Return when a suite with ``WAIT`` waits; only from outside of its jail can it be let go on."""
    deadline = time.monotonic() + 120
    while not list(state.glob(WAITING)):
        assert time.monotonic() < deadline, "no suite came as far"
        time.sleep(0.05)


@contextmanager
def let_go_on(state: Path) -> Iterator[None]:
    """Let each such suite go on as soon as it waits, until the end of the block."""
    ended = threading.Event()

    def open_gates() -> None:
        while not ended.wait(0.05):
            for path in state.glob(WAITING):
                with suppress(OSError):
                    (path.parent / "open").touch()

    thread = threading.Thread(target=open_gates)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()

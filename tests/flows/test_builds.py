"""What real build tools make passes every check: the ones that are installed here."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from packaging.specifiers import SpecifierSet

from conveyor.domain.distributions.archives import ArchiveLimits
from conveyor.domain.distributions.reading import (
    Digests,
    Distribution,
    LibraryChecks,
    UploadForm,
    read_distribution,
)
from conveyor.operations.store.rendering import fault_of
from conveyor.operations.store.signatures import signature_fault
from distributions_made import Made
from flows.projects_made import make_project

if TYPE_CHECKING:
    from pathlib import Path

BUILD = "import sys, {backend} as backend; print(backend.build_{kind}('dist'))"
UV = (sys.executable, "-m", "uv", "--no-config")


def checked(path: Path) -> Distribution:
    made = Made(path.name, path.read_bytes())
    blake2 = hashlib.blake2b(made.content, digest_size=32).hexdigest()
    return read_distribution(
        made.stream,
        filename=made.filename,
        size_bytes=len(made.content),
        digests=Digests(sha256=made.sha256, blake2b_256=blake2),
        form=UploadForm(made.form),
        limits=ArchiveLimits(),
        checks=LibraryChecks(fault_of, signature_fault),
    )


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
@pytest.mark.parametrize("backend", ["setuptools.build_meta", "hatchling.build", "uv_build"])
def test_what_a_build_tool_makes_is_sound(tmp_path: Path, backend: str, kind: str) -> None:
    folder = make_project(tmp_path, "Built-Project", backend=backend, version="1.0rc1")
    command = [sys.executable, "-c", BUILD.format(backend=backend, kind=kind)]
    if backend == "uv_build":  # inside uv, as long as the project asks for uv's own version
        said = subprocess.run([*UV, "--version"], capture_output=True, text=True, check=True).stdout
        text = (folder / "pyproject.toml").read_text(encoding="utf-8")
        pinned = text.replace("requires = []", f'requires = ["uv_build=={said.split()[1]}"]')
        (folder / "pyproject.toml").write_text(pinned, encoding="utf-8")
        command = [*UV, "build", "--offline", "-q", "-o", "dist", f"--{kind}"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (path for path in (folder / "dist").iterdir() if path.suffix in (".whl", ".gz"))
    found = checked(path)
    assert (found.project, found.display_name, found.version) == ("built-project", "Built-Project", "1.0rc1")
    assert SpecifierSet(found.requires_python or "") == SpecifierSet(">=3.9,<4")
    assert found.core_metadata["license_files"] == ["LICENSE"]

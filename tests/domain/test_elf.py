"""Compiled modules: the section that differs is named, with its usual cause. A real compiler makes them."""

from __future__ import annotations

import subprocess
import zipfile
from typing import TYPE_CHECKING

import pytest

from conveyor.domain.distributions.elf import differing_sections, explain_difference, sections_of
from conveyor.domain.distributions.equivalence import compare_wheels
from distributions_made import make_wheel

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = 'const char *version(void) { return "demo " VERSION; }\nint answer(int n) { return n * FACTOR; }\n'


def compiled(
    folder: Path, *, version: str = "1.2.1", factor: int = 42, options: tuple[str, ...] = ("-g",)
) -> bytes:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "demo.c").write_text(SOURCE)
    given = [f'-DVERSION="{version}"', f"-DFACTOR={factor}", *options]
    subprocess.run(["cc", "-shared", "-fPIC", *given, "demo.c", "-o", "demo.so"], cwd=folder, check=True)
    return (folder / "demo.so").read_bytes()


def test_sections_of_a_module_are_read(tmp_path: Path) -> None:
    found = {section.name: section.content for section in sections_of(compiled(tmp_path))}
    assert found[".rodata"].startswith(b"demo 1.2.1")
    assert {".text", ".debug_info", ".note.gnu.build-id"} <= set(found)


@pytest.mark.parametrize(
    ("changed", "section", "cause"),
    [
        ({"version": "1.2.1rc1"}, ".rodata", "a version"),
        ({"factor": 1000}, ".text", "another compiler"),
        ({"options": ("-g", "-Wl,-rpath,/opt/some/where")}, ".dyn", "RPATH"),
    ],
)
def test_section_and_cause_are_named(
    tmp_path: Path, changed: dict[str, object], section: str, cause: str
) -> None:
    one = compiled(tmp_path / "same", options=("-s",) if section == ".rodata" else ("-g",))
    kept = {"options": ("-s",), **changed} if section == ".rodata" else changed
    other = compiled(tmp_path / "same", **kept)  # type: ignore[arg-type]  # of the table above
    said = explain_difference(one, other) or ""
    assert section in said
    assert cause in said


def test_folder_of_the_build_is_found_in_debug_information(tmp_path: Path) -> None:
    one, other = (compiled(tmp_path / name) for name in ("run-1", "run-2"))
    assert differing_sections(one, other)[0].startswith(".debug")
    said = explain_difference(one, other) or ""
    assert "a folder of the build" in said
    assert "run-1" in said
    assert "run-2" in said


def test_version_in_a_module_is_shown_in_the_proof_that_fails(tmp_path: Path) -> None:
    wheels = []
    for version in ("1.2.1rc1", "1.2.1"):
        content = compiled(tmp_path, version=version, options=("-s",))
        wheels.append(make_wheel(extra={"demo/_fast.cpython-311-x86_64-linux-gnu.so": content}).stream)
    difference = next(one for one in compare_wheels(*wheels) if one.member.endswith(".so"))
    assert ".rodata" in difference.change
    assert '"demo 1.2.1rc1" became "demo 1.2.1"' in difference.change


def test_other_and_damaged_files_have_no_sections(tmp_path: Path) -> None:
    content = compiled(tmp_path)
    assert sections_of(b"") == sections_of(b"#!/bin/sh") == ()
    for length in range(0, len(content), 211):
        sections_of(content[:length])
    assert explain_difference(b"a", b"b") is None
    assert explain_difference(content, content) is None
    assert zipfile.is_zipfile(tmp_path / "demo.so") is False

"""Small projects of every build backend: a package ``demo`` 1.0.0 with a data file and a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from project.checkouts import commit, git

if TYPE_CHECKING:
    from pathlib import Path

PEP_621 = '\n[project]\nname = "demo"\nversion = "1.0.0"\nrequires-python = ">=3.9"\n'
DESCRIBED = PEP_621 + 'description = "A demo"\n'
C_SOURCE = """\
#include <Python.h>
static PyObject *answer(PyObject *self, PyObject *none) { return PyLong_FromLong(42); }
static PyMethodDef methods[] = {{"answer", answer, METH_NOARGS, NULL}, {NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_fast", NULL, -1, methods};
PyMODINIT_FUNC PyInit__fast(void) { return PyModule_Create(&module); }
"""
RUST_SOURCE = """\
use std::os::raw::{c_char, c_long};
#[no_mangle]
pub extern "C" fn answer() -> c_long { 42 }
#[no_mangle]
pub extern "C" fn name() -> *const c_char { b"demo\\0".as_ptr() as *const c_char }
"""


def _system(requires: str, backend: str) -> str:
    return f'[build-system]\nrequires = [{requires}]\nbuild-backend = "{backend}"\n'


SETUPTOOLS = _system('"setuptools>=77"', "setuptools.build_meta")
SETUP_CFG = """\
[metadata]
name = demo
version = 1.0.0
[options]
packages = find:
package_dir = =src
include_package_data = True
[options.packages.find]
where = src
"""
SETUP_PY = """\
from setuptools import find_packages, setup
NAME = "demo"
setup(name=NAME, version="1.0.0", packages=find_packages("src"), package_dir={"": "src"},
      package_data={"demo": ["*.json"]})
"""
EXTENSION = '[tool.setuptools]\next-modules = [{name = "demo._fast", sources = ["src/demo/fast.c"]}]\n'
MANIFEST = {"MANIFEST.in": "include src/demo/*.json\n"}
MESON = """\
project('demo', 'c', version: '1.0.0')
py = import('python').find_installation(pure: false)
py.install_sources('src/demo/__init__.py', 'src/demo/data.json', subdir: 'demo', pure: false)
py.extension_module('_fast', 'src/demo/fast.c', subdir: 'demo', install: true, c_args: ['-g'])
"""
CMAKE = """\
cmake_minimum_required(VERSION 3.15)
project(demo LANGUAGES C)
find_package(Python REQUIRED COMPONENTS Interpreter Development.Module)
Python_add_library(_fast MODULE WITH_SOABI src/demo/fast.c)
target_compile_options(_fast PRIVATE -g)
install(TARGETS _fast DESTINATION demo)
"""

PURE = {
    "setuptools": {"pyproject.toml": SETUPTOOLS + PEP_621, **MANIFEST},
    "setup.cfg": {"setup.cfg": SETUP_CFG, "setup.py": "from setuptools import setup\nsetup()\n", **MANIFEST},
    "setup.cfg with pyproject.toml": {"setup.cfg": SETUP_CFG, "pyproject.toml": SETUPTOOLS, **MANIFEST},
    "setup.py": {"setup.py": SETUP_PY},
    "setuptools-scm": {
        "pyproject.toml": _system('"setuptools>=77", "setuptools-scm>=8"', "setuptools.build_meta")
        + PEP_621.replace('version = "1.0.0"', 'dynamic = ["version"]')
        + '[tool.setuptools_scm]\nversion_file = "src/demo/_version.py"\n',
        ".gitignore": "/src/demo/_version.py\n",
    },
    "hatchling": {
        "pyproject.toml": _system('"hatchling"', "hatchling.build")
        + PEP_621
        + '[tool.hatch.build.targets.wheel]\npackages = ["src/demo"]\n'
    },
    "flit": {"pyproject.toml": _system('"flit_core>=3.9"', "flit_core.buildapi") + DESCRIBED},
    "poetry-core": {
        "pyproject.toml": _system('"poetry-core"', "poetry.core.masonry.api")
        + '[tool.poetry]\nname = "demo"\nversion = "1.0.0"\ndescription = ""\nauthors = []\n'
        'packages = [{include = "demo", from = "src"}]\n'
    },
    "pdm": {"pyproject.toml": _system('"pdm-backend"', "pdm.backend") + PEP_621},
    "uv_build": {"pyproject.toml": _system('"uv_build"', "uv_build") + PEP_621},
    "a backend of its own": {
        "pyproject.toml": '[build-system]\nrequires = ["flit_core"]\nbuild-backend = "own"\n'
        'backend-path = ["tools"]\n' + DESCRIBED + '[tool.flit.sdist]\ninclude = ["tools/"]\n',
        "tools/own.py": "from flit_core.buildapi import *\n",
    },
}
"""Backend → the files that stand beside ``src/demo`` in a project without compiled modules."""

COMPILED = {
    "setuptools": {"pyproject.toml": SETUPTOOLS + PEP_621 + EXTENSION, **MANIFEST},
    "meson-python": {"pyproject.toml": _system('"meson-python"', "mesonpy") + PEP_621, "meson.build": MESON},
    "scikit-build-core": {
        "pyproject.toml": _system('"scikit-build-core"', "scikit_build_core.build")
        + PEP_621
        + "[tool.scikit-build]\ninstall.strip = false\n",
        "CMakeLists.txt": CMAKE,
    },
}
"""The same for backends that compile ``src/demo/fast.c`` into ``demo._fast``."""

MATURIN = {
    "pyproject.toml": _system('"maturin>=1.7"', "maturin")
    + PEP_621
    + '[tool.maturin]\nbindings = "cffi"\npython-source = "src"\nmodule-name = "demo._native"\n',
    "Cargo.toml": '[package]\nname = "demo"\nversion = "1.0.0"\nedition = "2021"\n'
    '[lib]\nname = "demo"\ncrate-type = ["cdylib"]\npath = "crate/lib.rs"\n',
    "crate/lib.rs": RUST_SOURCE,
}


def project_of(root: Path, files: dict[str, str], *, is_compiled: bool = False) -> Path:
    """A committed project with the tag ``v1.0.0``."""
    common = {
        "src/demo/__init__.py": '"""A demo."""\n',
        "src/demo/data.json": "{}\n",
        "tests/test_demo.py": "import demo\n\n\ndef test_demo():\n    assert demo.__doc__\n",
        "README.md": "# demo\n",
    }
    if is_compiled:
        common["src/demo/fast.c"] = C_SOURCE
    for path, content in {**common, **files}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)
    git(root, "init", "-q")
    commit(root)
    git(root, "tag", "v1.0.0")
    return root

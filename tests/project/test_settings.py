"""What pyproject.toml declares, and how faults in it are told."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conveyor.errors import ProjectError
from conveyor.project.interpreters import declared_python
from conveyor.project.settings import find_project, read_project
from conveyor.project.suites import pytest_settings
from project.checkouts import commit, git, new_project

if TYPE_CHECKING:
    from collections.abc import Callable


def write(folder: Path, text: str) -> Path:
    (folder / "pyproject.toml").write_text(text)
    return folder


def test_generated_model_declares_itself(tmp_path: Path) -> None:
    project = read_project(new_project(tmp_path, "Tumor.Model", kind="model"))
    assert (project.name, project.package, project.kind) == ("tumor-model", "tumor_model", "model")
    assert project.payload == tuple(
        f"src/tumor_model/model/{name}" for name in ("model.joblib", "golden.json", "model.json")
    )
    assert project.train == ("python", "-m", "tumor_model.training")
    assert {"test", "docs"} <= set(project.extras)
    assert project.version_files == ()
    assert project.member_of(project.payload[0]) == "tumor_model/model/model.joblib"


def test_project_without_a_table_is_a_package(tmp_path: Path) -> None:
    (tmp_path / "some_thing").mkdir()
    project = read_project(write(tmp_path, '[project]\nname = "Some-Thing"\n'))
    assert (project.kind, project.display_name, project.package) == ("package", "Some-Thing", "some_thing")
    assert project.package_folder == "some_thing"
    assert project.member_of("some_thing/__init__.py") == "some_thing/__init__.py"


@pytest.mark.parametrize(
    "table",
    [
        'setuptools_scm]\nversion_file = "src/a/_v.py"\n',
        'setuptools_scm]\nwrite_to = "src/a/_v.py"\n',
        'hatch.build.hooks.vcs]\nversion-file = "src/a/_v.py"\n',
        'hatch.build.targets.wheel.hooks.version]\npath = "src/a/_v.py"\n',
        'pdm.version]\nwrite_to = "src/a/_v.py"\n',
    ],
)
def test_version_files_of_the_usual_backends_are_known(tmp_path: Path, table: str) -> None:
    text = f'[project]\nname = "a"\n[tool.{table}'
    assert read_project(write(tmp_path, text)).version_files == ("src/a/_v.py",)


def test_all_faults_of_the_table_are_named(tmp_path: Path) -> None:
    text = '[project]\nname = "a"\n[tool.conveyor]\nkind = "wheel"\ntrain = "python"\npackages = 1\n'
    with pytest.raises(ProjectError) as caught:
        read_project(write(tmp_path, text))
    for fault in ("packages is unknown here (did you mean package?", 'kind is "wheel"', "train is not an"):
        assert fault in caught.value.message


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        ('test]\npath = ["tests"]\n', "test.path is unknown here (did you mean paths?"),
        ('test]\ncommand = ["nox"]\n', "test.command and test.junit belong together"),
        ('test]\nextra = "test"\ngroup = "dev"\n', "test.extra and test.group exclude each other"),
        ('test]\nfiles = ["../secret"]\n', "test.files[0] is not a path inside the project"),
        ('test]\npythons = ["three"]\n', "test.pythons[0] is not a version of Python"),
        ('[test.services]]\nname = "db"\ncommand = ["db"]\n', "db needs either port or socket"),
        ('data.iris]\npath = "data/iris.csv"\n', "data.iris.sha256 is missing"),
        (f'data.iris]\nsha256 = "{"0" * 64}"\n', "data.iris has neither path nor url"),
        (f'data.iris]\nsha256 = "{"0" * 64}"\nurl = "ftp://a/b"\n', "https:// or s3://"),
        (f'data.iris]\nsha256 = "{"0" * 64}"\nurl = "https://a:b@c/d"\n', "holds credentials"),
        ('docs]\ncommand = ["make"]\n', "docs.command and docs.output belong together"),
        ('build]\nallow = [{ pattern = "*.pth" }]\n', "build.allow[0].reason is missing"),
        ('train]\ncommand = ["python"]\nenv = ["A-B"]\n', "train.env[0] is not the name of a variable"),
    ],
)
def test_declaration_with_a_fault_is_refused(tmp_path: Path, table: str, fault: str) -> None:
    prefix = "[tool.conveyor." if not table.startswith("[") else "[[tool.conveyor."
    text = f'[project]\nname = "a"\n{prefix}{table.removeprefix("[")}'
    with pytest.raises(ProjectError) as caught:
        read_project(write(tmp_path, text))
    assert fault in caught.value.message


def test_training_may_be_a_table_or_the_words_of_its_command(tmp_path: Path) -> None:
    for train in ('["python", "a.py"]', '{ command = ["python", "a.py"], env = ["TOKEN"] }'):
        text = f'[project]\nname = "a"\n[tool.conveyor]\ntrain = {train}\n'
        assert read_project(write(tmp_path, text)).train == ("python", "a.py")


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"pyproject.toml": '[tool.poetry]\nname = "Some-Thing"\n'}, "Some-Thing"),
        ({"pyproject.toml": '[tool.flit.metadata]\nmodule = "thing"\n'}, "thing"),
        ({"pyproject.toml": "", "setup.cfg": "[metadata]\nname = some.thing\n"}, "some.thing"),
        ({"setup.py": "from setuptools import setup\nsetup(name='thing')\n"}, "thing"),
        ({"setup.py": "import setuptools\nsetuptools.setup(name='thing')\n"}, "thing"),
        ({"setup.py": "import setuptools\nsetuptools.setup()\n", "setup.cfg": "[metadata]\nname=a\n"}, "a"),
    ],
)
def test_name_is_read_where_the_backend_keeps_it(tmp_path: Path, files: dict[str, str], name: str) -> None:
    for path, text in files.items():
        (tmp_path / path).write_text(text)
    assert read_project(tmp_path).display_name == name


def test_name_that_no_file_states_is_asked_of_the_backend(tmp_path: Path) -> None:
    (tmp_path / "setup.py").write_text("from setuptools import setup\nNAME = 'thing'\nsetup(name=NAME)\n")
    with pytest.raises(ProjectError, match="does not name a project"):
        read_project(tmp_path)
    assert read_project(tmp_path, ask=lambda root: {"name": root.name and "thing"}).name == "thing"


def test_setup_cfg_alone_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "setup.cfg").write_text("[metadata]\nname = thing\n")
    for read in (read_project, find_project):
        with pytest.raises(ProjectError, match=r"neither a pyproject\.toml nor a setup\.py") as caught:
            read(tmp_path)
        assert "build-backend" in (caught.value.hint or "")


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "model.bin", "src/other/model.bin"])
def test_payload_outside_the_package_is_refused(tmp_path: Path, path: str) -> None:
    text = f'[project]\nname = "a"\n[tool.conveyor]\nkind = "model"\npayload = ["{path}"]\ntrain = ["x"]\n'
    with pytest.raises(ProjectError, match=r"does not lie in the package folder|is not a path inside"):
        read_project(write(tmp_path, text))


def test_model_without_payload_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="needs its payload"):
        read_project(write(tmp_path, '[project]\nname = "a"\n[tool.conveyor]\nkind = "model"\n'))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[project", "is not TOML"),
        ("", "does not name a project"),
        (f"a = {'[' * 3000}", "nested too deeply"),
        ('[project]\nname = "a"\n[tool.conveyor]\ntag_prefix = "r"\n', 'tag_prefix "r" cannot be told'),
        ('[project]\nname = "a"\n[tool.conveyor]\ntag_prefix = "2."\n', 'tag_prefix "2." cannot be told'),
        (
            '[project]\nname = "a"\n[tool.conveyor.data.rows]\nsha256 = "'
            + 64 * "0"
            + '"\nurl = "https://[b"\n',
            "not an address",
        ),
        ('[project]\nname = "-a"\n', "project name"),
    ],
)
def test_broken_file_is_a_clear_error(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(ProjectError, match=reason):
        read_project(write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('project = "a"\n', "project must be a table"),
        ("build-system = 1\ntool = []\n", "build-system and tool must be a table"),
        ("[project]\nversion = '1'\n", "has no name"),
        ("[project]\nname = 'a'\ndynamic = 5\n", "dynamic under .* must be a list of names"),
        ("tool = 1\n[project]\nname = 'a'\ndynamic = [5]\n", "tool must be a table .*; dynamic under"),
    ],
)
def test_tables_of_the_wrong_kind_are_a_clear_error(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(ProjectError, match=reason) as caught:
        read_project(write(tmp_path, text))
    assert caught.value.hint


@pytest.mark.parametrize(
    "table",
    [
        "poetry = 1",
        "flit = []",
        "hatch = 'x'",
        "setuptools_scm = true",
        "pdm.version = '1'",
        "versioneer = 0",
        "scikit-build = {generate = 5, metadata = 5}",
    ],
)
def test_settings_of_other_tools_that_are_no_tables_are_left_to_them(tmp_path: Path, table: str) -> None:
    assert read_project(write(tmp_path, f'[project]\nname = "a"\n[tool]\n{table}\n')).name == "a"


def test_project_is_found_from_a_folder_inside_it(tmp_path: Path) -> None:
    root = new_project(tmp_path)
    assert find_project(root / "src" / "demo").root == root


def test_folder_outside_every_project_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ProjectError) as caught:
        find_project(tmp_path)
    assert "conveyor new" in (caught.value.hint or "")


def test_top_of_a_repository_names_the_projects_in_its_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "init", "-q")
    files = ("packages/one/pyproject.toml", "packages/one/tests/data/pyproject.toml", "b/setup.py")
    commit(tmp_path, dict.fromkeys(files, ""))
    with pytest.raises(
        ProjectError, match="no project itself, but holds projects in b, packages/one"
    ) as told:
        find_project(tmp_path)
    assert str(told.value.hint).endswith(f"--project {tmp_path / 'b'}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProjectError) as told:
        find_project(Path())
    assert str(told.value.hint).endswith("--project b")


@pytest.mark.parametrize(
    ("document", "is_refused"),
    [
        ('[project]\nname = "demo"\n[project.optional-dependencies]\nTest_all = []\n', True),
        ('[project]\nname = "demo"\n', True),
        ('[project]\nname = "demo"\ndynamic = ["optional-dependencies"]\n', False),
        ('[project]\nname = "demo"\n[project.optional-dependencies]\ntst = []\n', False),
    ],
)
def test_extra_of_the_tests_that_is_not_there_is_refused(
    tmp_path: Path, document: str, is_refused: bool
) -> None:
    root = write(tmp_path, f'{document}[tool.conveyor.test]\nextra = "tst"\n')
    if is_refused:
        with pytest.raises(ProjectError, match=r'test\.extra names "tst", which the project does not have'):
            read_project(root)
    else:
        assert read_project(root).declared.test.extra == "tst"


def test_table_that_is_nearly_called_conveyor_is_noticed(tmp_path: Path) -> None:
    text = '[project]\nname = "demo"\n[tool.conveyr]\n[tool.conveyor]\n[tool.coverage]\n[tool.ruff]\n'
    assert read_project(write(tmp_path, text)).misspelled == ("conveyr",)


def test_checkout_without_pyproject_asks_for_one_in_the_repository_it_was_cloned_from(tmp_path: Path) -> None:
    with pytest.raises(ProjectError) as caught:
        read_project(tmp_path)
    assert (caught.value.hint or "").startswith("commit one at the top of the repository")


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("pyproject.toml", read_project),
        ("setup.cfg", read_project),
        ("setup.py", read_project),
        ("pytest.ini", pytest_settings),
        ("pytest.toml", pytest_settings),
        (".python-version", declared_python),
    ],
)
def test_files_of_another_place_are_not_read(
    tmp_path: Path, name: str, read: Callable[[Path], object]
) -> None:
    """What a parser says of a broken line would be written down, and so would the line."""
    (tmp_path / "elsewhere").write_text("not = of [this project\n")
    root = tmp_path / "repository" / "demo"
    root.mkdir(parents=True)
    (root.parent / ".git").mkdir()
    (root / "pyproject.toml").write_text("[build-system]\nrequires = []\n")
    (root / name).unlink(missing_ok=True)
    (root / name).symlink_to("../../elsewhere")
    with pytest.raises(ProjectError, match="is a link that leads out of the repository") as told:
        read(root)
    assert "this project" not in str(told.value)


def test_a_link_to_another_file_of_the_repository_is_read(tmp_path: Path) -> None:
    root = tmp_path / "demo"
    root.mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / ".python-version").write_text("3.12\n")
    (root / ".python-version").symlink_to("../.python-version")
    assert declared_python(root) == "3.12"

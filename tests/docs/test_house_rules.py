"""What must stand in no file of this repository, and in one only."""

from __future__ import annotations

import ast
import re

from docs.markdown import ROOT, repository_files

# Put together here, so that this file does not name them either.
REGISTRY_HOSTS = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("anaconda", "org"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("crates", "io"),
        ("docker", "io"),
        ("docker", "com"),
        ("ghcr", "io"),
        ("quay", "io"),
        ("jfrog", "io"),
        ("pkg", "dev"),
        ("gemfury", "com"),
        ("cloudsmith", "io"),
    )
)
HOME_FOLDERS = re.compile(r"(?<![\w.$}~-])/(?:home|Users)/\w|(?<![\w.$}~/-])/root/\w")


def _texts() -> list[tuple[str, str]]:
    found = []
    for file in repository_files():
        try:
            found.append((file.relative_to(ROOT).as_posix(), file.read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            continue
    return found


def test_no_file_names_the_host_of_a_registry() -> None:
    hosts = re.compile("|".join(rf"(?<![\w-]){re.escape(host)}(?![\w-])" for host in REGISTRY_HOSTS))
    assert [f"{name}: {found[0]}" for name, text in _texts() if (found := hosts.findall(text))] == []


def test_no_file_names_a_path_of_the_machine_it_was_written_on() -> None:
    here = str(ROOT)
    is_telling = len(ROOT.parts) > 2  # "/src" stands in many files for other reasons
    faults = [f"{name}: {here}" for name, text in _texts() if is_telling and here in text]
    faults += [f"{name}: {found.group()}" for name, text in _texts() if (found := HOME_FOLDERS.search(text))]
    assert faults == []


def test_requirements_pin_hashes_and_name_no_index() -> None:
    for file in (ROOT / "requirements").rglob("*.txt"):
        text = file.read_text(encoding="utf-8")
        if file.name == "npm.txt":
            pinned = [line for line in text.splitlines() if not line.startswith("#")]
            one = r"^[\w@/.-]+ \d+\.\d+\.\d+\S* sha512-[\w+/]{86}==$"
            hashed = re.findall(one, text, flags=re.MULTILINE)
        else:
            pinned = re.findall(r"^[a-z0-9][\w.-]*==", text, flags=re.MULTILINE)
            hashed = re.findall(
                r"^[a-z0-9][\w.-]*==[^\\\n]*\\\n    --hash=sha256:[0-9a-f]{64}", text, flags=re.MULTILINE
            )
        assert pinned, file.name
        assert len(hashed) == len(pinned), file.name
        assert "://" not in text, file.name
        assert "index-url" not in text, file.name


def test_no_two_classes_share_a_name() -> None:
    places: dict[str, list[str]] = {}
    for name, text in _texts():
        if name.startswith("src/") and name.endswith(".py") and "/templates/" not in name:
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.ClassDef):
                    places.setdefault(node.name, []).append(name)
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_modules_are_large_enough_to_be_rooms() -> None:
    """Commands may be short; other modules below 40 lines belong into a neighbour."""
    sizes = {
        path: len(text.splitlines())
        for path, text in _texts()
        if re.fullmatch(r"src/conveyor/.*\.py", path)
        and not re.search(r"/migrations/|__init__|__main__|_version", path)
    }
    assert len(sizes) > 100
    assert [path for path, lines in sizes.items() if lines < 40 and "/cli/" not in path] == []
    assert len([path for path, lines in sizes.items() if lines < 100]) <= 70
    assert [path for path, lines in sizes.items() if lines > 600] == []

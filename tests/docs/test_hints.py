"""Commands that our own messages tell people to call exist, and can be called as they are printed."""

from __future__ import annotations

import ast
import re

import pytest

from conveyor.domain.releases.gates import GATES, JudgedFile, JudgedRelease, judge
from conveyor.domain.releases.gates.judged import CREDENTIALS
from docs.calls import fault_of_call, shell_commands
from docs.markdown import ROOT, repository_files

# At the start of a text, or after punctuation: elsewhere "conveyor" may be the noun.
CALL = re.compile(r"(?:^|[:;,`(]\s+|&& |\b(?:see|with|call|run):? )(conveyor [a-z].*)$")
ON_A_STORE = re.compile(r"conveyor (?:why|store) (?!.* --(?:data|url|help)\b)")
BEGINNINGS = ("conveyor pipeline package", "conveyor pipeline run")
"""What gates say is put together; ``tests/domain/test_gates.py`` looks at the whole."""
NAME_OF_A_COMMITTER = "conveyor new"


def _texts() -> list[tuple[str, str]]:
    """Every text of the code, docstrings excluded; VALUE stands for what is filled in."""
    found = []
    for file in repository_files():
        if file.suffix != ".py" or not file.is_relative_to(ROOT / "src") or "templates" in file.parts:
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        parts = {
            id(part)
            for node in ast.walk(tree)
            for part in (node.values if isinstance(node, ast.JoinedStr) else _docstring(node))
        }
        found += [
            (f"{file.relative_to(ROOT)}:{node.lineno}", _text(node))
            for node in ast.walk(tree)
            if id(node) not in parts and isinstance(node, ast.Constant | ast.JoinedStr)
        ]
    return found


def _docstring(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
        first = node.body[0]
        return [first.value] if isinstance(first, ast.Expr) else []
    return []


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) for part in node.values)
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.FormattedValue) and ast.unparse(node.value) == "CREDENTIALS":
        return CREDENTIALS
    return "VALUE"


def fault_of_hint(call: str) -> str | None:
    """Why the call does not work as it is printed; the store is added where it is shown."""
    if call in BEGINNINGS or call == NAME_OF_A_COMMITTER:
        return None
    if ON_A_STORE.match(call):
        call += " --url URL"
    faults = [fault_of_call(words[1:]) for words in shell_commands(call) if words[0] == "conveyor"]
    return next((fault for fault in faults if fault), None)


def test_commands_named_in_messages_can_be_called() -> None:
    wrong = [
        f"{place}: {called.group(1)}: {fault}"
        for place, text in _texts()
        for line in text.splitlines()
        if (called := CALL.search(line)) and (fault := fault_of_hint(called.group(1)))
    ]
    assert wrong == []


@pytest.mark.parametrize("version", ["1.0.0", "1.0.0rc1", "1.0.0.dev3+g1234567"])
def test_commands_of_gates_can_be_called(version: str) -> None:
    files = (
        JudgedFile("demo-py3-none-any.whl", "bdist_wheel", "0" * 64),
        JudgedFile("demo.tar.gz", "sdist", "1" * 64),
    )
    verdicts = judge(JudgedRelease("demo", version, files, (), index="stable"), GATES)
    steps = [verdict.next_step or "" for verdict in verdicts]
    calls = [called.group(1) for step in steps if (called := CALL.search(step))]
    assert calls
    assert {call: fault for call in calls if (fault := fault_of_hint(call))} == {}


def test_a_command_that_could_not_be_copied_would_be_noticed() -> None:
    for call in (
        "conveyor store worker add NAME --credentials FILE makes one",
        "conveyor store fsck --repair mends it",
        "conveyor store token create",
        "conveyor store nonsense",
        "conveyor pipeline test",
    ):
        assert fault_of_hint(call) is not None

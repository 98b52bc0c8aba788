from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from conveyor.domain.indexes.definitions import DEFAULT_INDEXES
from conveyor.domain.releases.gates import GATES
from conveyor.domain.releases.policy import Policy, check_policy, read_policy
from conveyor.domain.words.toml_lines import KeyLines
from conveyor.errors import InvalidInput

INDEXES = {index.name: index for index in DEFAULT_INDEXES}
STABLE = INDEXES["stable"]

EXAMPLE = """\
schema = 1

[index.stable]
gates = ["tests", "qa-signature", "final-version", "tests"]
pythons = ["3.12"]
""".replace(', "tests"]', "]")


def faults_of(content: str) -> tuple[str, ...]:
    with pytest.raises(InvalidInput) as caught:
        read_policy(content)
    return caught.value.faults


def test_empty_policy_leaves_the_settings_of_every_index() -> None:
    for policy in (Policy(), read_policy("schema = 1\n")):
        rules = policy.rules(STABLE, "demo")
        assert (rules.gates, rules.pythons) == (STABLE.gates, STABLE.pythons)
        assert rules.other_environments == "block"


def test_most_specific_section_that_names_a_setting_decides_it() -> None:
    policy = read_policy(
        EXAMPLE
        + """
[index.stable.project."*"]
signers = 2
[index.stable.project."risk-*"]
signers = 3
[index.stable.project.risk-core]
signers = 4
[index.stable.project."r*-c?re"]
signers = 5
[index.stable.project."*-tools"]
override_days = 5
[index.stable.project."risk-t*"]
override_days = 6
"""
    )
    signers = {
        name: policy.rules(STABLE, name).signers for name in ("demo", "risk-a", "risk-core", "rx-cxre")
    }
    assert signers == {"demo": 2, "risk-a": 3, "risk-core": 4, "rx-cxre": 5}
    # Six characters that are not wildcards in both: the later one decides.
    assert policy.rules(STABLE, "risk-tools").override_days == 6
    assert policy.rules(STABLE, "risk-tools").pythons == ("3.12",)
    assert policy.rules(INDEXES["testing"], "risk-core").signers == 1


def test_naming_pythons_or_platforms_only_shows_the_others() -> None:
    assert read_policy(EXAMPLE).rules(STABLE, "demo").other_environments == "shown"
    strict = read_policy(EXAMPLE + 'other_environments = "block"\n')
    assert strict.rules(STABLE, "demo").other_environments == "block"


def test_every_fault_of_a_file_is_named_with_its_line() -> None:
    assert faults_of(
        """\
# no schema
colour = "red"
index.Stable.gates = []

[index.stable]
gates = [
    "tests",
    "qa-signatur",
]
signers = 0
pythons = ["3.12", "four"]
approvel = "minor"
approval = "sometimes"
project."Risk_*".signers = 2

[index.testing]
workers = "worker-1"
hosts = [
  "packages.example",   # fine
  "https://packages.example/",
]
project = 3
"""
    ) == (
        "line 1: schema is missing: write schema = 1",
        "line 2: colour is unknown here (known: schema, index)",
        'line 3: "Stable" cannot be the name of an index',
        f'line 8: there is no gate "qa-signatur": did you mean qa-signature? (known: {", ".join(GATES)})',
        "line 10: signers is not a whole number of 1 or more",
        "line 11: pythons[1] is not a Python such as 3.12, 3.12.4 or pypy3.9",
        "line 12: approvel is unknown here (did you mean approval? known: " + KNOWN + ")",
        'line 13: approval is "sometimes", not one of always, minor, major, never',
        'line 14: "Risk_*" is not a normalized project name, nor a pattern of one with * and ?',
        "line 17: workers is not a list of texts",
        "line 20: hosts[1] is not the name of a host",
        "line 22: index.testing.project is not a table",
    )


KNOWN = (
    "approval, approvals, ci_evidence, gates, hosts, isolation, licences, minimum_age_hours, not_author, "
    "other_environments, override_by, override_days, platforms, pythons, signers, workers"
)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ('schema = 1\n[index.stable]\ngates = ["tests"\n', "line 3: this is not TOML: "),
        ("schema = 1\nschema = 1\n", "line 2: this is not TOML: "),
        ("schema = true\n", "line 1: schema is True: write schema = 1"),
        ("schema = 2\n", "line 1: schema is 2: write schema = 1"),
        ("schema = " + "9" * 5000, "line 1: this is not TOML: "),
        ("schema = 1\nx = " + "[" * 5000, "line 1: this is not TOML: it is nested too deeply"),
        ("schema = 1\nindex = 3\n", "line 2: index is not a table"),
        (
            'schema = 1\n[index.stable]\ngates = ["tests"]\n\nsigners = 2\n',
            "line 5: signers has no effect without the gate qa-signature: add it to gates",
        ),
    ],
)
def test_single_fault_stands_in_the_message(content: str, fault: str) -> None:
    with pytest.raises(InvalidInput, match="the policy has a fault") as caught:
        read_policy(content)
    assert caught.value.faults[0].startswith(fault)
    assert caught.value.hint == "repair these lines; nothing has changed"


def test_example_of_the_documentation_is_a_policy() -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "set-the-policy.md").read_text(encoding="utf-8")
    policy = read_policy(page.partition("```toml\n")[2].partition("```")[0])
    check_policy(policy, INDEXES, {"worker-1"})
    assert policy.rules(STABLE, "risk-core").approvals == 2
    assert set(policy.rules(STABLE, "demo").gates) <= set(GATES)


def test_policy_must_fit_the_store_it_is_for() -> None:
    content = """\
schema = 1
[index.nowhere]
gates = []
[index.unstable]
hosts = ["packages.example"]
gates = []
[index.stable]
override_days = 3
workers = ["worker-1", "worker-2"]
[index.testing]
signers = 2
"""
    with pytest.raises(InvalidInput) as caught:
        check_policy(read_policy(content), INDEXES, {"worker-1"})
    assert caught.value.faults == (
        'line 2: there is no index "nowhere" (there are stable, testing, unstable)',
        'line 6: nothing is promoted into "unstable", so only hosts has an effect there',
        'line 9: there is no worker "worker-2": see conveyor store worker list',
        "line 11: signers has no effect without the gate qa-signature: add it to gates",
    )
    check_policy(read_policy(EXAMPLE), INDEXES, ())


def test_lines_of_every_kind_of_key_are_found() -> None:
    text = '''\
# a comment = [1]
top = "# not a comment"

[[list]]
a = """
b = 2
"""
[list.inner]
"quoted.key" = {x = 1, y = [
  2,
  "]",
]}
[[list]]
'c'.d = \'\'\'
[x]\'\'\'  # [y]
e = 2026-01-01T00:00:00Z
'''
    tomllib.loads(text)
    lines = KeyLines(text)
    found = {
        path: lines.line_of(path)
        for path in (
            ("top",),
            ("list", 0, "a"),
            ("list", 0, "inner", "quoted.key", "y", 1),
            ("list", 1),
            ("list", 1, "c", "d"),
            ("list", 1, "e"),
            ("list", 1, "missing"),
            ("missing",),
        )
    }
    assert list(found.values()) == [2, 5, 11, 13, 14, 16, 13, 1]

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from conveyor.operations.store.descriptions import REMEMBERED, DescriptionRenderer
from running_stores import children_of

if TYPE_CHECKING:
    from collections.abc import Iterator

GOOD = "Title\n=====\n\nSome *text* with ``code``.\n"


@pytest.fixture
def renderer() -> Iterator[DescriptionRenderer]:
    made = DescriptionRenderer()
    yield made
    made.close()


def doubling(steps: int) -> str:
    """Substitutions that become 2 to the power of ``steps`` words."""
    lines = [f".. |a{number}| replace:: |a{number + 1}| |a{number + 1}|" for number in range(steps)]
    return "\n\n".join([*lines, f".. |a{steps}| replace:: x", "|a0|", ""])


def test_sound_text_has_no_fault(renderer: DescriptionRenderer) -> None:
    assert renderer.fault(GOOD) == ""


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("Title\n=====\n\n``code\n", "line 4: Inline literal start-string without end-string."),
        ("A\n\n.. nonsense:: x\n", 'line 3: Unknown directive type "nonsense".'),
        (".. include:: /etc/hostname\n", 'line 1: "include" directive disabled.'),
        (".. raw:: html\n\n   <script>\n", 'line 1: "raw" directive disabled.'),
        (".. csv-table:: x\n   :file: /etc/hostname\n", "line 1: File and URL access deactivated"),
        (".. only a comment\n", "nothing of it can be seen"),
        ("".join(f"{'  ' * depth}- a\n\n" for depth in range(400)), "it is nested too deeply"),
    ],
)
def test_fault_says_where_it_is(renderer: DescriptionRenderer, text: str, fault: str) -> None:
    assert renderer.fault(text).startswith(fault)


def test_text_that_takes_forever_is_given_up_and_the_next_one_is_answered(
    renderer: DescriptionRenderer,
) -> None:
    assert renderer.fault(doubling(40)) in (
        "it takes longer than 5 s to render",
        "it takes too much memory to render",
    )
    assert renderer.fault(GOOD) == ""


def test_text_of_half_a_surrogate_pair_breaks_nothing(renderer: DescriptionRenderer) -> None:
    assert renderer.fault("\ud800") == ""


def test_child_that_ended_by_itself_is_replaced(renderer: DescriptionRenderer) -> None:
    assert renderer.fault(GOOD) == ""
    assert renderer._child is not None
    os.kill(renderer._child.pid, signal.SIGKILL)
    assert renderer.fault("another") == ""


def test_what_was_found_is_remembered_without_end_of_memory(renderer: DescriptionRenderer) -> None:
    assert renderer.fault("``a") == renderer.fault("``a")
    for number in range(REMEMBERED + 10):
        renderer.fault(f"text {number}")
    assert len(renderer._known) == REMEMBERED


def test_many_threads_get_their_own_answers(renderer: DescriptionRenderer) -> None:
    texts = [f"``{number}" if number % 2 else f"text {number}" for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        faults = list(pool.map(renderer.fault, texts))
    assert [bool(fault) for fault in faults] == [bool(number % 2) for number in range(40)]


def test_docutils_never_comes_into_the_process_that_asks() -> None:
    script = (
        "import sys; from conveyor.operations.store.descriptions import DescriptionRenderer as R; r = R();"
        "print(repr(r.fault('x')), 'docutils' in sys.modules, 'readme_renderer' in sys.modules); r.close()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["''", "False", "False"]


def test_child_ends_with_the_process_that_asked() -> None:
    script = (
        "import sys; from conveyor.operations.store.descriptions import DescriptionRenderer as R; r = R();"
        "r.fault('x'); print('ready', flush=True); sys.stdin.read()"
    )
    asking = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert asking.stdout is not None
    assert asking.stdout.readline() == "ready\n"
    (child,) = children_of(asking)
    watched = os.pidfd_open(child)
    try:
        asking.kill()
        asking.communicate()
        assert select.select([watched], [], [], 30)[0], "the child lives on"
    finally:
        os.close(watched)

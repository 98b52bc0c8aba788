"""Options and marks that hold for every test."""

from __future__ import annotations

import asyncio
import inspect
import sys
from typing import TYPE_CHECKING

import pytest
from _pytest.nodeid import NodeId

from figures import noted, noting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from figures import Figures
    from upstreams import RunningUpstream


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--torture", action="store_true", help="run the long rounds with their full counts")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests marked ``torture`` are long rounds: outside ``make torture`` they are not collected at all."""
    if getattr(config.option, "loadgroup", False):  # set by xdist in its processes
        _name_groups(items)
    if config.getoption("--torture"):
        return
    kept = [item for item in items if item.get_closest_marker("torture") is None]
    dropped = [item for item in items if item.get_closest_marker("torture") is not None]
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = kept


def _name_groups(items: list[pytest.Item]) -> None:
    """Let xdist send the tests of a group to one process, so that what they share is made once.

    xdist 3.8 writes the group behind a test's name in a way that pytest 9.2 no longer reads
    (``findings/xdist-spreads-the-tests-of-a-group.sh``).
    """
    for item in items:
        groups = {str(mark.args[0]) for mark in item.iter_markers("xdist_group")}
        if groups and "@" not in item.nodeid.rpartition("]")[2]:
            item._id = NodeId.parse(f"{item.nodeid}@{'_'.join(sorted(groups))}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what was counted and measured, also of tests that passed."""
    outcomes = ("passed", "failed")
    reports = [report for outcome in outcomes for report in terminalreporter.getreports(outcome)]
    if lines := noted(reports):
        terminalreporter.section("figures")
        for line in lines:
            terminalreporter.line(line)


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    """Notes figures for the end of the run."""
    return noting(request.node)


@pytest.fixture(autouse=True)
def runner() -> Iterator[asyncio.Runner]:
    """The event loop of a test that is a coroutine, and of its fixtures; made when it is needed first."""
    with asyncio.Runner() as running:
        yield running


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Play a test that is a coroutine on its event loop, as the one task, for a minute at most."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    given = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}

    async def limited() -> None:
        async with asyncio.timeout(60):
            await pyfuncitem.obj(**given)

    running = pyfuncitem.funcargs["runner"]
    assert isinstance(running, asyncio.Runner)
    running.run(limited())
    return True


@pytest.fixture
def upstream() -> Iterator[RunningUpstream]:
    """An upstream on loopback that has nothing yet."""
    from upstreams import running_upstream

    with running_upstream() as running:
        yield running


@pytest.fixture(autouse=True)
def _close_stores() -> Iterator[None]:
    """Stores that a test opened through ``makers`` are closed after it."""
    yield
    if "makers" in sys.modules:
        sys.modules["makers"].close_stores()

"""Figures that a test counted or measured, shown at the end of the run: what was tried, what was found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pytest

_PROPERTY = "figures"


class Figures(Protocol):
    """Notes figures of the test that asked for it."""

    def __call__(self, what: str, **numbers: float) -> None:
        """``what`` was done, and the numbers that came of it."""


def noting(item: pytest.Item) -> Figures:
    """Notes figures with a test's result, so that they come back from the process that ran it."""

    def note(what: str, **numbers: float) -> None:
        said = ", ".join(f"{name.replace('_', ' ')} {number}" for name, number in numbers.items())
        item.user_properties.append((_PROPERTY, f"{what}: {said}"))

    return note


def noted(reports: Iterable[pytest.TestReport]) -> list[str]:
    """One line for each time that figures were noted."""
    return [
        f"{report.nodeid.rpartition('::')[2]}: {value}"
        for report in reports
        if report.when == "call"
        for name, value in report.user_properties
        if name == _PROPERTY
    ]

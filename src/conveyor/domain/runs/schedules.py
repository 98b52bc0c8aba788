"""Schedules: when runs of a branch are requested by the clock, in UTC.

    every 6h                 an interval: minutes (m), hours (h) or days (d), at least ``SHORTEST_MINUTES``
    hourly, daily, weekly    at the full hour, at midnight, at midnight before Monday
    daily 03:00              at that time
    weekly mon 03:00         on that day of the week, at that time
    0 3 * * 1-5              five fields of cron: minute, hour, day of the month, month, day of the week

Fields of cron are those of POSIX ``crontab``, with names of months and days, ranges, lists and steps
(``*/15``); 7 is Sunday as 0 is. Where both a day of the month and a day of the week are named, either of them
counts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from conveyor.errors import InvalidInput

SHORTEST_MINUTES = 5
LONGEST_AHEAD = timedelta(days=366 * 8 + 1)
"""The 29th of February is at most eight years away."""
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_EVERY = re.compile(r"every ([1-9][0-9]{0,3})\s?([mhd])")
_AT = re.compile(
    r"(daily|weekly(?: (?P<day>[a-z]{3}))?)(?: (?P<hour>[01]?[0-9]|2[0-3]):(?P<minute>[0-5][0-9]))?"
)
_PART = re.compile(r"(?:(?P<all>\*)|(?P<low>\w{1,3})(?:-(?P<high>\w{1,3}))?)(?:/(?P<step>[1-9][0-9]?))?")


@dataclass(frozen=True)
class Schedule:
    """A schedule that was read; either an interval or the fields of cron."""

    interval: timedelta | None
    minutes: frozenset[int] = frozenset()
    hours: frozenset[int] = frozenset()
    days: frozenset[int] = frozenset()
    months: frozenset[int] = frozenset()
    weekdays: frozenset[int] = frozenset()
    """0 is Sunday."""
    is_either_day: bool = False
    """Whether a day of the month and a day of the week are both named."""

    def next_after(self, moment: datetime) -> datetime:
        """The first time after a moment (in UTC); raises InvalidInput if there is none in eight years."""
        if self.interval is not None:
            return moment + self.interval
        first = moment.astimezone(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
        day = first.replace(hour=0, minute=0)
        while day - first < LONGEST_AHEAD:
            if self._is_on(day):
                for hour in sorted(self.hours):
                    for minute in sorted(self.minutes):
                        found = day.replace(hour=hour, minute=minute)
                        if found >= first:
                            return found
            day += timedelta(days=1)
        raise InvalidInput(
            "the schedule never comes", hint='such as "30 3 * * *", each day at half past three'
        )

    def _is_on(self, day: datetime) -> bool:
        if day.month not in self.months:
            return False
        of_month, of_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return of_month or of_week if self.is_either_day else of_month and of_week


def read_schedule(text: str) -> Schedule:
    """Read a schedule; raises InvalidInput if it is none, or never comes."""
    words = " ".join(text.lower().split())
    if every := _EVERY.fullmatch(words):
        minutes = int(every[1]) * {"m": 1, "h": 60, "d": 1440}[every[2]]
        if minutes < SHORTEST_MINUTES:
            raise _no_schedule(text, f"it is more often than every {SHORTEST_MINUTES} minutes")
        return Schedule(timedelta(minutes=minutes))
    if words == "hourly":
        words = "0 * * * *"
    elif at := _AT.fullmatch(words):
        day = "*" if at[1] == "daily" else at["day"] or "mon"
        words = f"{int(at['minute'] or 0)} {int(at['hour'] or 0)} * * {day}"
    fields = words.split()
    if len(fields) != 5:
        raise _no_schedule(text, "it has not the five fields of cron")
    try:
        minutes_, hours, days, months = (
            _numbers(fields[0], 0, 59),
            _numbers(fields[1], 0, 23),
            _numbers(fields[2], 1, 31),
            _numbers(fields[3], 1, 12, names=_MONTHS, first=1),
        )
        weekdays = frozenset(one % 7 for one in _numbers(fields[4], 0, 7, names=_DAYS))
    except ValueError as error:
        raise _no_schedule(text, str(error)) from error
    is_either = not fields[2].startswith("*") and not fields[4].startswith("*")
    schedule = Schedule(None, minutes_, hours, days, months, weekdays, is_either)
    schedule.next_after(datetime(2000, 1, 1, tzinfo=UTC))
    return schedule


def _numbers(
    field: str, least: int, most: int, *, names: tuple[str, ...] = (), first: int = 0
) -> frozenset[int]:
    """The numbers of one field; raises ValueError with what is wrong."""
    found: set[int] = set()
    for part in field.split(","):
        read = _PART.fullmatch(part)
        if read is None:
            raise ValueError(f"{part[:20]!r} is no part of cron")
        low = least if read["all"] else _number(read["low"], names, first)
        high = low if read["high"] is None else _number(read["high"], names, first)
        if read["all"] or (read["step"] and read["high"] is None):
            high = most
        if not least <= low <= high <= most:
            raise ValueError(f"{part[:20]!r} is not between {least} and {most}")
        found.update(range(low, high + 1, int(read["step"] or 1)))
    return frozenset(found)


def _number(word: str, names: tuple[str, ...], first: int) -> int:
    if word in names:
        return names.index(word) + first
    if not (word.isascii() and word.isdecimal()):
        raise ValueError(f"{word[:20]!r} is neither a number nor a name there")
    return int(word)


def _no_schedule(text: str, reason: str) -> InvalidInput:
    return InvalidInput(
        f"{text[:100]!r} is no schedule: {reason}",
        faults=[reason],
        hint='write "every 6h", "daily 03:00", "weekly mon 03:00", or the five fields of cron, in UTC',
    )

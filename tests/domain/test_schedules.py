"""Schedules: what is one, and when it comes next."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor.domain.runs.schedules import read_schedule
from conveyor.errors import InvalidInput

MONDAY = datetime(2026, 11, 30, 15, 36, 40, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "following"),
    [
        ("every 6h", "2026-11-30 21:36:40"),
        ("Every  30m", "2026-11-30 16:06:40"),
        ("every 2d", "2026-12-02 15:36:40"),
        ("hourly", "2026-11-30 16:00:00"),
        ("daily", "2026-12-01 00:00:00"),
        ("daily 03:00", "2026-12-01 03:00:00"),
        ("daily 15:37", "2026-11-30 15:37:00"),
        ("daily 15:36", "2026-12-01 15:36:00"),
        ("weekly", "2026-12-07 00:00:00"),
        ("weekly fri 18:30", "2026-12-04 18:30:00"),
        ("0 3 * * 1-5", "2026-12-01 03:00:00"),
        ("0 3 * * SAT,sun", "2026-12-05 03:00:00"),
        ("0 0 * * 7", "2026-12-06 00:00:00"),
        ("*/15 * * * *", "2026-11-30 15:45:00"),
        ("5/20 * * * *", "2026-11-30 15:45:00"),
        ("0 0 29 feb *", "2028-02-29 00:00:00"),
        ("0 0 13 * *", "2026-12-13 00:00:00"),
        ("0 0 13 * fri", "2026-12-04 00:00:00"),
        ("0 12 1-7/3 jan-mar *", "2027-01-01 12:00:00"),
    ],
)
def test_schedule_comes_next(text: str, following: str) -> None:
    assert read_schedule(text).next_after(MONDAY) == datetime.fromisoformat(f"{following}+00:00")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "five fields"),
        ("at tea", "five fields"),
        ("every 1m", "more often than every 5 minutes"),
        ("every 0h", "five fields"),
        ("daily 24:00", "five fields"),
        ("weekly foo 03:00", "neither a number nor a name"),
        ("60 * * * *", "not between 0 and 59"),
        ("* * 0 * *", "not between 1 and 31"),
        ("5-1 * * * *", "not between"),
        ("*/0 * * * *", "no part of cron"),
        ("1,,2 * * * *", "no part of cron"),
        ("\u0661 * * * *", "neither a number"),
        ("0 0 30 2 *", "never comes"),
    ],
)
def test_what_is_no_schedule_is_refused(text: str, fault: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_schedule(text)
    assert fault in refused.value.message


@given(
    moment=st.integers(0, 2**31).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)),
    text=st.sampled_from(
        ["*/7 */5 * * *", "30 3 * * mon", "0 0 31 * *", "59 23 29 2 *", "every 90m", "0 0 1,15 * wed"]
    ),
)
def test_next_time_is_later_and_the_first_one(moment: datetime, text: str) -> None:
    schedule = read_schedule(text)
    following = schedule.next_after(moment)
    assert following > moment
    assert schedule.next_after(following - timedelta(minutes=1)) == following or text.startswith("every")
    elsewhere = moment.astimezone(timezone(timedelta(hours=5, minutes=45)))
    assert schedule.next_after(elsewhere) == following, "a schedule is in UTC"

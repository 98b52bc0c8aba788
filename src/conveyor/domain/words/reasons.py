"""Reasons: what somebody says for a yank or a change of status; shown to everybody who reads pages."""

from __future__ import annotations

from conveyor.errors import InvalidInput

LONGEST_REASON = 1000
"""Characters."""


def checked_reason(text: str | None) -> str | None:
    """The reason without blanks around it; ``None`` when nothing is left.

    Raises:
        InvalidInput: it is too long, or holds more than one line or characters that nobody sees: installers
            write it to terminals.
    """
    reason = (text or "").strip()
    if len(reason) > LONGEST_REASON or not reason.isprintable():
        raise InvalidInput(
            f"the reason can not be shown: one line of at most {LONGEST_REASON} printable characters can",
            hint="say it shorter, and put the details where they can be looked up",
        )
    return reason or None

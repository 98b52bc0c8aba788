"""Checks of passwords: one bounded queue per process, in which strangers wait and known people do not.

A check takes a tenth of a second of a processor and 64 MiB on purpose, so clients that send passwords, right
or wrong, must not be able to make others wait. The rules, in this order:

1. a password that was right before passes at once, whatever else goes on;
2. one that was wrong before is wrong at once: a script that keeps sending an old password costs nothing;
3. after wrong passwords for this user, or from this address, nothing is checked for a while
   (``domain.people.passwords`` says how long);
4. every other password waits for its turn. The queue is short, and no address can fill it alone;
5. a check whose clients have all left is taken out of the queue.

Results are remembered under a keyed digest, whose key only this process has, together with the hash of the
password that counted then: after a change of password, or for a disabled user, they no longer apply.
"""

from __future__ import annotations

import asyncio
import hmac
import math
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conveyor.domain.people.passwords import WITH_ADDRESSES, WITH_USERS, WrongPasswords
from conveyor.errors import InvalidInput, TooManyAttempts, Unauthorized
from conveyor.operations.people.users import is_right_password
from conveyor.server.http.messages import departure
from conveyor.server.memory.flights import Flights

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from starlette.types import Receive

    from conveyor.operations.people.users import Account

CHECKS_AT_ONCE = 2
"""Each takes 64 MiB and a processor; more at once would let strangers take all of both."""
MOST_WAITING = 40
"""Two seconds of checking on an idle machine; clients that come later are told to come again."""
LONGEST_WAIT_SECONDS = 4.0
"""On a busy machine a check takes longer, and fewer may wait: nobody is expected to wait longer than this."""
_WEIGHT_OF_NEWEST = 0.2
"""The part of the newest check in the average of their durations."""
MOST_WAITING_OF_ADDRESS = MOST_WAITING // 2
"""The same part of a queue that is shorter because checks take long."""
RETRY_SECONDS = 2
MOST_REMEMBERED = 4096
"""Right passwords, and wrong ones; those that were not used for the longest time are forgotten first."""


@dataclass(frozen=True)
class Attempt:
    """An attempt to sign in."""

    name: str
    account: Account | None
    """The account of that name; ``None`` if no such user has a password."""
    passwords: tuple[str, ...]
    """Possible readings of the header; one of them must be right."""
    address: str
    """The client's address."""


class _Check:
    """One check, waiting or under way, and how many clients wait for it."""

    def __init__(self, attempt: Attempt, carry_out: Callable[[_Check], Coroutine[Any, Any, bool]]) -> None:
        self.attempt = attempt
        self.clients = 0
        self.has_begun = False
        self.task = asyncio.create_task(carry_out(self))


class PasswordChecks:
    """Checks passwords; one per process, ended with ``close``."""

    def __init__(
        self,
        *,
        is_right: Callable[[Account | None, str], bool] = is_right_password,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``is_right`` is called in a thread; ``clock`` counts seconds."""
        self._is_right = is_right
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._right: dict[bytes, str] = {}
        self._wrong: dict[bytes, str] = {}
        self._of_users = WrongPasswords(WITH_USERS)
        self._of_addresses = WrongPasswords(WITH_ADDRESSES)
        self._turns = asyncio.Semaphore(CHECKS_AT_ONCE)
        self._check_seconds = 0.0
        """Duration of a check, averaged over the newest ones."""
        self._flights = Flights(is_logged=False)
        self._waiting: set[_Check] = set()
        """The checks that have not begun."""

    async def must_be_right(self, attempt: Attempt, receive: Receive | None) -> None:
        """Return if the password is right, and raise otherwise.

        Args:
            attempt: who wants to sign in.
            receive: tells when the client has left; ``None`` if it must not be called.

        Raises:
            Unauthorized: the password is wrong, or there is no such user; the message does not tell which.
            TooManyAttempts: it was not checked; the client may try again.
            InvalidInput: the client has left.
        """
        expected = "" if attempt.account is None else attempt.account.password_hash
        digests = [self._digest(attempt.name, password) for password in attempt.passwords]
        for digest in digests:
            if attempt.account is not None and self._right.get(digest) == expected:
                _remember(self._right, digest, expected)
                return
        if all(self._wrong.get(digest) == expected for digest in digests):
            raise _wrong()
        self._must_not_wait(attempt)
        if not await self._outcome((digests[0], expected), attempt, receive):
            raise _wrong()

    async def close(self) -> None:
        """Cancel the checks that are waiting."""
        await self._flights.close()

    async def _outcome(self, key: tuple[bytes, str], attempt: Attempt, receive: Receive | None) -> bool:
        """Whether the password is right, once its turn has come; one check serves all who send it."""
        check = self._flights.board(key, lambda: self._begin(attempt))
        check.clients += 1
        waited = {check.task}
        leaving = asyncio.create_task(departure(receive)) if receive is not None else None
        try:
            await asyncio.wait(waited | {leaving} if leaving else waited, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if leaving is not None:
                leaving.cancel()
            check.clients -= 1
            if not check.clients and not check.has_begun and not check.task.done():
                self._waiting.discard(check)
                self._flights.drop(key, check)
        if not check.task.done():
            raise InvalidInput("the request was broken off by its client")
        return check.task.result()

    def _begin(self, attempt: Attempt) -> _Check:
        """A new check at the end of the queue; raises TooManyAttempts if the queue is full."""
        waiting = [check.attempt.address for check in self._waiting]
        most = MOST_WAITING
        if self._check_seconds > 0:
            most = min(most, int(LONGEST_WAIT_SECONDS * CHECKS_AT_ONCE / self._check_seconds) + 1)
        most_of_address = max(1, most * MOST_WAITING_OF_ADDRESS // MOST_WAITING)
        if len(waiting) >= most or waiting.count(attempt.address) >= most_of_address:
            raise TooManyAttempts(
                "too many passwords wait to be checked", retry_after_seconds=RETRY_SECONDS, hint=_HINT
            )
        check = _Check(attempt, self._in_turn)
        self._waiting.add(check)
        return check

    async def _in_turn(self, check: _Check) -> bool:
        attempt = check.attempt
        async with self._turns:
            self._waiting.discard(check)
            self._must_not_wait(attempt)  # those before it may have been wrong
            check.has_begun = True
            began = self._clock()
            right = await asyncio.to_thread(self._right_one, attempt)
            self._check_seconds += _WEIGHT_OF_NEWEST * (self._clock() - began - self._check_seconds)
        expected = "" if attempt.account is None else attempt.account.password_hash
        if right is not None:
            _remember(self._right, self._digest(attempt.name, right), expected)
            self._of_users.forgive(attempt.name)
            return True
        for password in attempt.passwords:
            _remember(self._wrong, self._digest(attempt.name, password), expected)
        self._of_users.add(attempt.name, self._clock())
        self._of_addresses.add(attempt.address, self._clock())
        return False

    def _right_one(self, attempt: Attempt) -> str | None:
        """The right password; also checked if there is no account, so that timing tells nothing."""
        found = (password for password in attempt.passwords if self._is_right(attempt.account, password))
        return next(found, None)

    def _must_not_wait(self, attempt: Attempt) -> None:
        now = self._clock()
        seconds = max(
            self._of_users.wait_seconds(attempt.name, now),
            self._of_addresses.wait_seconds(attempt.address, now),
        )
        if seconds > 0:
            raise TooManyAttempts(
                "too many wrong passwords came for this user or from this address",
                retry_after_seconds=math.ceil(seconds),
                hint=_HINT,
            )

    def _digest(self, name: str, password: str) -> bytes:
        return hmac.digest(self._key, f"{name}\0{password}".encode("utf-8", "surrogatepass"), "sha256")


_HINT = "try again after the seconds of Retry-After, or use a token: tokens never wait"


def _wrong() -> Unauthorized:
    return Unauthorized(
        "the user name or the password is wrong",
        hint="an administrator sets a new password: conveyor store user password NAME",
    )


def _remember(memory: dict[bytes, str], digest: bytes, expected: str) -> None:
    memory.pop(digest, None)
    while len(memory) >= MOST_REMEMBERED:
        del memory[next(iter(memory))]
    memory[digest] = expected

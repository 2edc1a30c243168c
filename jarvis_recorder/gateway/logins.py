"""Logins: the passwords of the roles, checked one at a time, and the limits of wrong ones."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Final, NamedTuple

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from jarvis_recorder.errors import ConfigurationError
from jarvis_recorder.gateway.problems import Problem
from jarvis_recorder.gateway.tokens import CallerRole

LONGEST_PASSWORD: Final = 1_024
_WINDOW_SECONDS: Final = 60.0
_WRONG_OF_ONE: Final = 5
_WRONG_OF_ALL: Final = 30
_MOST_WAITING: Final = 64
_LONGEST_WAIT_SECONDS: Final = 10.0


class Passwords:
    """The passwords of the roles, as argon2 hashes."""

    def __init__(self, hashes: Mapping[CallerRole, str]) -> None:
        """
        Take the hashes.

        Raises:
            ConfigurationError: One is no argon2 hash.
        """
        self._hasher = PasswordHasher()
        self._hashes = dict(hashes)
        for role, hashed in self._hashes.items():
            try:
                self._hasher.check_needs_rehash(hashed)
            except InvalidHashError:
                raise ConfigurationError(
                    f"the password hash of the {role} is no argon2 hash: "
                    "`jarvis-recorder gateway passwd` makes one"
                ) from None

    async def role_of(self, password: str) -> CallerRole | None:
        """
        Return the role of a password, None if no role has it.

        A check takes 64 MiB and tens of milliseconds on purpose: run one at a time.
        """
        return await asyncio.to_thread(self._role_of, password)

    def _role_of(self, password: str) -> CallerRole | None:
        for role, hashed in self._hashes.items():
            try:
                if self._hasher.verify(hashed, password):
                    return role
            except VerificationError:
                continue
        return None


class Logins:
    """
    A check of the passwords of logins, one at a time, with a limit on the wrong ones of each address.

    A right password is accepted, however many wrong ones came before: the cost of a check bounds
    how many can be tried. Of the logins that wait, addresses with fewer wrong passwords come
    first; a login that waits too long is refused, to try again.
    """

    def __init__(self, passwords: Passwords, clock: Callable[[], float] = time.monotonic) -> None:
        self._passwords = passwords
        self._clock = clock
        self._wrong: list[_Wrong] = []
        self._waiting: list[_Waiting] = []
        self._checking = False
        self._newest_first = False

    async def role_of(self, password: str, address: str) -> CallerRole:
        """
        Return the role of a password.

        Raises:
            Problem: It is wrong (401), or too many were tried (429).
        """
        await self._turn(address)
        try:
            role = await self._passwords.role_of(password)
        finally:
            self._next()
        if role is None:
            raise self._refusal(address)
        return role

    async def _turn(self, address: str) -> None:
        if not self._checking:
            self._checking = True
            return
        mine = _Waiting(address, asyncio.get_running_loop().create_future())
        self._waiting.append(mine)
        if len(self._waiting) > _MOST_WAITING:
            self._give_up(self._of_addresses(max)[0])
        await asyncio.wait([mine.turn], timeout=_LONGEST_WAIT_SECONDS)
        if not mine.turn.done():
            self._give_up(mine)
        if mine.turn.cancelled():
            raise Problem(
                HTTPStatus.TOO_MANY_REQUESTS,
                "too many log in at once: try again in 1 s",
                {"Retry-After": "1"},
            )

    def _give_up(self, waiting: "_Waiting") -> None:
        self._waiting.remove(waiting)
        waiting.turn.cancel()

    def _next(self) -> None:
        if not self._waiting:
            self._checking = False
            return
        # Newest and oldest in turn: a flood then starves neither the early logins nor the late ones.
        self._newest_first = not self._newest_first
        following = self._of_addresses(min)[-1 if self._newest_first else 0]
        self._waiting.remove(following)
        following.turn.set_result(None)

    def _of_addresses(self, which: Callable[[Iterable[int]], int]) -> "list[_Waiting]":
        """Return the waiting logins of the addresses with the fewest wrong passwords, or the most."""
        wrong = Counter(one.address for one in self._recent())
        number = which(wrong[one.address] for one in self._waiting)
        return [one for one in self._waiting if wrong[one.address] == number]

    def _recent(self) -> "list[_Wrong]":
        now = self._clock()
        self._wrong = [one for one in self._wrong if one.at > now - _WINDOW_SECONDS]
        return self._wrong

    def _refusal(self, address: str) -> Problem:
        """Count a wrong password and return its problem."""
        all_wrong = self._recent()
        of_one = [one for one in all_wrong if one.address == address]
        now = self._clock()
        for wrong, most in ((of_one, _WRONG_OF_ONE), (all_wrong, _WRONG_OF_ALL)):
            if len(wrong) >= most:
                return _too_many(wrong[0].at + _WINDOW_SECONDS - now)
        all_wrong.append(_Wrong(now, address))
        return Problem(HTTPStatus.UNAUTHORIZED, "Invalid password")


class _Wrong(NamedTuple):
    """A wrong password."""

    at: float
    address: str


class _Waiting(NamedTuple):
    """A login that waits for its password to be checked."""

    address: str
    turn: asyncio.Future[None]


def _too_many(seconds: float) -> Problem:
    wait = max(1, round(seconds))
    return Problem(
        HTTPStatus.TOO_MANY_REQUESTS,
        f"too many wrong passwords: try again in {wait} s",
        {"Retry-After": str(wait)},
    )

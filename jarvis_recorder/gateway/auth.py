"""Authentication and authorization: passwords, tokens, two roles."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import jwt
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from jarvis_recorder.errors import ConfigurationError
from jarvis_recorder.gateway.problems import Problem

LONGEST_TOKEN: Final = 8_192
LONGEST_PASSWORD: Final = 1_024
SHORTEST_SECRET: Final = 32
"""Bytes; as long as the hash of HS256, as RFC 7518, section 3.2, requires."""

_REQUIRED: Final = ["exp", "iat", "aud", "iss"]
# Asymmetric only: with a public key, an algorithm of shared secrets would let anyone sign.
_PUBLIC_ALGORITHMS: Final = frozenset(
    ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
)
_WINDOW_SECONDS: Final = 60.0
_WRONG_OF_ONE: Final = 5
_WRONG_OF_ALL: Final = 30
_MOST_WAITING: Final = 64
_LONGEST_WAIT_SECONDS: Final = 10.0


class Role(StrEnum):
    """The permissions of a caller: read only, or read and change."""

    READER = "reader"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller that a token authenticates."""

    name: str
    role: Role


class Tokens(Protocol):
    """Verifies tokens."""

    def read(self, token: str) -> Caller:
        """
        Return the caller that a token authenticates.

        Raises:
            Problem: It is invalid or expired (401).
        """
        ...


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims that every token must have."""

    issuer: str
    audience: str


class OwnTokens:
    """Tokens that the gateway issues itself, signed with its secret by HS256."""

    def __init__(self, secret: str, claims: Claims, days: int) -> None:
        self._secret = secret
        self._claims = claims
        self.days = days

    def give(self, role: Role) -> str:
        """Return a token for a role, valid for `days` from now."""
        now = int(time.time())
        claims = {
            "sub": role.value,
            "role": role.value,
            "iat": now,
            "exp": now + self.days * 86_400,
            "iss": self._claims.issuer,
            "aud": self._claims.audience,
        }
        return jwt.encode(claims, self._secret, algorithm="HS256")

    def read(self, token: str) -> Caller:
        return _caller(token, self._secret, "HS256", self._claims)


class TokensOfAnother:
    """Tokens of another issuer, whose public keys are in a JWKS file."""

    def __init__(self, keys: Mapping[str | None, jwt.PyJWK], claims: Claims) -> None:
        self._keys = keys
        self._claims = claims

    def read(self, token: str) -> Caller:
        try:
            kid = jwt.get_unverified_header(token[: LONGEST_TOKEN + 1]).get("kid")
        except jwt.PyJWTError:
            raise _not_valid() from None
        key = self._keys.get(kid)
        if key is None:
            raise _not_valid()
        return _caller(token, key.key, str(key.algorithm_name), self._claims)


def read_jwks(path: Path, claims: Claims) -> TokensOfAnother:
    """
    Return a verifier of the tokens signed with the keys of a JWKS file.

    Raises:
        ConfigurationError: It cannot be read, or holds a key that is invalid or not public.
    """
    try:
        keys = jwt.PyJWKSet.from_dict(json.loads(path.read_text(encoding="utf-8"))).keys
    except (OSError, ValueError, jwt.PyJWTError, AttributeError, TypeError) as error:
        raise ConfigurationError(
            f"gateway.jwks_file: {path} is no JSON Web Key Set: {error}"
        ) from None
    for key in keys:
        if key.algorithm_name not in _PUBLIC_ALGORITHMS:
            raise ConfigurationError(
                f"gateway.jwks_file: key {key.key_id} in {path} is of {key.algorithm_name}, "
                "which is not signed with a private key: name an RSA, EC or Ed25519 key"
            )
    return TokensOfAnother({key.key_id: key for key in keys}, claims)


def _caller(token: str, key: Any, algorithm: str, claims: Claims) -> Caller:
    if len(token) > LONGEST_TOKEN:
        raise _not_valid()
    try:
        found = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=claims.audience,
            issuer=claims.issuer,
            options={"require": _REQUIRED},
        )
        return Caller(str(found.get("sub") or found["role"]), Role(found["role"]))
    except (jwt.PyJWTError, ValueError, KeyError):
        raise _not_valid() from None


def _not_valid() -> Problem:
    return unauthenticated("Invalid or expired token")


def unauthenticated(error: str) -> Problem:
    """Return the problem of a caller who is not authenticated (RFC 6750)."""
    return Problem(HTTPStatus.UNAUTHORIZED, error, {"WWW-Authenticate": "Bearer"})


class Passwords:
    """The passwords of the roles, as argon2 hashes."""

    def __init__(self, hashes: Mapping[Role, str]) -> None:
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

    async def role_of(self, password: str) -> Role | None:
        """
        Return the role of a password, None if no role has it.

        A check takes 64 MiB and tens of milliseconds on purpose: run one at a time.
        """
        return await asyncio.to_thread(self._role_of, password)

    def _role_of(self, password: str) -> Role | None:
        for role, hashed in self._hashes.items():
            try:
                if self._hasher.verify(hashed, password):
                    return role
            except VerificationError:
                continue
        return None


class Logins:
    """
    Checks the passwords of logins, one at a time, and limits the wrong ones of each address.

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

    async def role_of(self, password: str, address: str) -> Role:
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

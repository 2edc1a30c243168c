"""The tokens of callers, made and checked, and the two roles."""

import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Protocol

import jwt

from jarvis_recorder.errors import ConfigurationError
from jarvis_recorder.gateway.problems import Problem
from jarvis_recorder.runtime.texts import from_json

LONGEST_TOKEN: Final = 8_192
SHORTEST_SECRET: Final = 32
"""Bytes; as long as the hash of HS256, as RFC 7518, section 3.2, requires."""

_REQUIRED: Final = ["exp", "iat", "aud", "iss"]
# Asymmetric only: with a public key, an algorithm of shared secrets would let anyone sign.
_PUBLIC_ALGORITHMS: Final = frozenset(
    ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
)


class CallerRole(StrEnum):
    """The permissions of a caller: read only, or read and change."""

    READER = "reader"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller that a token authenticates, until it expires: a Unix time in seconds."""

    name: str
    role: CallerRole
    expires: int


class Tokens(Protocol):
    """A verifier of tokens."""

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
    """
    Tokens that the gateway issues itself, signed by HS256.

    The key of a role is made of the secret and of the hash of the role's password: the tokens of a
    role end with its password, and all of them with the secret.
    """

    def __init__(
        self, secret: str, hashes: Mapping[CallerRole, str], claims: Claims, days: int
    ) -> None:
        self._keys = {role: signing_key(secret, role, hashes.get(role, "")) for role in CallerRole}
        self._claims = claims
        self.days = days

    def give(self, role: CallerRole) -> str:
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
        return jwt.encode(claims, self._keys[role], algorithm="HS256")

    def read(self, token: str) -> Caller:
        # The signature proves the role that the token names.
        return _caller(token, self._keys[_named_role(token)], "HS256", self._claims)


def signing_key(secret: str, role: CallerRole, password_hash: str) -> bytes:
    """Return the key of the tokens of a role, 32 bytes; the hash is empty for one without."""
    return hmac.digest(secret.encode(), f"{role}:{password_hash}".encode(), "sha256")


def _named_role(token: str) -> CallerRole:
    """
    Return the role that a token names, unverified.

    Raises:
        Problem: It names none (401).
    """
    try:
        claims = jwt.decode(token[: LONGEST_TOKEN + 1], options={"verify_signature": False})
        return CallerRole(claims["role"])
    except (jwt.PyJWTError, ValueError, KeyError):
        raise _not_valid() from None


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
        keys = jwt.PyJWKSet.from_dict(from_json(path.read_text(encoding="utf-8"))).keys
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
        name = str(found.get("sub") or found["role"])
        return Caller(name, CallerRole(found["role"]), int(found["exp"]))
    except (jwt.PyJWTError, ValueError, KeyError):
        raise _not_valid() from None


def _not_valid() -> Problem:
    return unauthenticated("Invalid or expired token")


def unauthenticated(error: str) -> Problem:
    """Return the problem of a caller who is not authenticated (RFC 6750)."""
    return Problem(HTTPStatus.UNAUTHORIZED, error, {"WWW-Authenticate": "Bearer"})

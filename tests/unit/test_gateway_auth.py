"""Tokens and passwords: who is let in, and who is not."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import time

import jwt
import pytest
from argon2 import PasswordHasher
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from jarvis_recorder.client import RecorderClient
from jarvis_recorder.client.dead_letter_replay import DeadLetterAdmin
from jarvis_recorder.config.settings import GatewaySettings
from jarvis_recorder.errors import ConfigurationError
from jarvis_recorder.gateway import logins as logins_module
from jarvis_recorder.gateway.app import create
from jarvis_recorder.gateway.logins import Logins, Passwords
from jarvis_recorder.gateway.problems import Problem
from jarvis_recorder.gateway.tokens import (
    Caller,
    CallerRole,
    Claims,
    OwnTokens,
    read_jwks,
    signing_key,
)

URL = "amqp://localhost/"
SECRET = "0123456789abcdef0123456789abcdef"
CLAIMS = Claims("jarvis-recorder", "jarvis-recorder")
NOW = int(time.time())
GOOD = {
    "sub": "ada", "role": "operator", "iat": NOW, "exp": NOW + 3_600,
    "iss": CLAIMS.issuer, "aud": CLAIMS.audience,
}  # fmt: skip


HASHES = {CallerRole.OPERATOR: "$argon2id$operator", CallerRole.READER: "$argon2id$reader"}
KEY = signing_key(SECRET, CallerRole.OPERATOR, HASHES[CallerRole.OPERATOR])


@pytest.fixture
def own():
    return OwnTokens(SECRET, HASHES, CLAIMS, 7)


def signed(claims=GOOD, key=KEY, algorithm="HS256", **headers):
    return jwt.encode(claims, key, algorithm=algorithm, headers=headers)


def without(name):
    return {claim: value for claim, value in GOOD.items() if claim != name}


def part(document):
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


def test_a_token_given_out_speaks_for_its_role(own):
    token = own.give(CallerRole.READER)

    claims = jwt.decode(token, options={"verify_signature": False})
    assert own.read(token) == Caller("reader", CallerRole.READER, claims["exp"])
    assert claims["exp"] - claims["iat"] == 7 * 86_400


def test_a_token_of_an_operator_is_good(own):
    assert own.read(signed()) == Caller("ada", CallerRole.OPERATOR, GOOD["exp"])


@pytest.mark.parametrize("role", CallerRole)
@pytest.mark.parametrize("hashed", ["$argon2id$another", ""])
def test_the_tokens_of_a_role_end_with_its_password(own, role, hashed):
    tokens = {one: own.give(one) for one in CallerRole}

    after = OwnTokens(SECRET, {**HASHES, role: hashed}, CLAIMS, 7)

    with pytest.raises(Problem, match="Invalid or expired"):
        after.read(tokens.pop(role))
    ((other, token),) = tokens.items()
    assert after.read(token).role is other


def test_a_gateway_that_has_another_password_of_readers_takes_none_of_their_tokens():
    first, second = (PasswordHasher(1, 8, 1).hash(password) for password in ("one", "another"))

    def tokens(**more):
        settings = GatewaySettings(token_secret=SECRET, password_hash=first, **more)
        return create(RecorderClient(URL), DeadLetterAdmin(URL), settings).state.tokens

    before = tokens(reader_password_hash=first)
    given = before.give(CallerRole.READER)

    assert before.read(given).role is CallerRole.READER
    for after in (tokens(reader_password_hash=second), tokens()):
        with pytest.raises(Problem, match="Invalid or expired"):
            after.read(given)
        assert after.read(before.give(CallerRole.OPERATOR)).role is CallerRole.OPERATOR


def tampered():
    key = signing_key(SECRET, CallerRole.READER, HASHES[CallerRole.READER])
    header, _, signature = signed({**GOOD, "role": "reader"}, key).split(".")
    return f"{header}.{part(GOOD)}.{signature}"


BAD = {
    "expired": signed({**GOOD, "exp": NOW - 60}),
    "of another audience": signed({**GOOD, "aud": "another"}),
    "of another issuer": signed({**GOOD, "iss": "another"}),
    "not yet valid": signed({**GOOD, "iat": NOW + 86_400, "exp": NOW + 2 * 86_400}),
    "of no role": signed(without("role")),
    "of an unknown role": signed({**GOOD, "role": "root"}),
    "without exp": signed(without("exp")),
    "without iat": signed(without("iat")),
    "without aud": signed(without("aud")),
    "without iss": signed(without("iss")),
    "alg none": f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(GOOD)}.",
    "another algorithm": signed(key=KEY * 2, algorithm="HS512"),
    "another secret": signed(
        key=signing_key(SECRET[::-1], CallerRole.OPERATOR, HASHES[CallerRole.OPERATOR])
    ),
    "the secret alone": signed(key=SECRET),
    "another role's key": signed(
        key=signing_key(SECRET, CallerRole.READER, HASHES[CallerRole.READER])
    ),
    "of roles": signed({**GOOD, "role": ["operator"]}),
    "tampered": tampered(),
    "oversized": signed({**GOOD, "padding": "x" * 10_000}),
    "empty": "",
    "no token": "a.b.c",
    "not ASCII": "ä.ö.ü",
}


@pytest.mark.parametrize("token", BAD.values(), ids=BAD.keys())
def test_a_token_that_is_not_good_is_refused(own, token):
    with pytest.raises(Problem, match="Invalid or expired") as refused:
        own.read(token)
    assert refused.value.status_code == 401


@pytest.fixture(scope="module")
def pair():
    return rsa.generate_private_key(public_exponent=65_537, key_size=2_048)


def pem(private):
    return private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


@pytest.fixture
def another(pair, tmp_path):
    key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(pair.public_key()))
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": [key | {"kid": "k1", "alg": "RS256"}]}))
    return read_jwks(path, CLAIMS)


def test_tokens_of_another_issuer_are_read_by_its_public_keys(another, pair):
    assert another.read(signed(GOOD, pair, "RS256", kid="k1")) == Caller(
        "ada", CallerRole.OPERATOR, GOOD["exp"]
    )


def test_tokens_that_its_keys_have_not_signed_are_refused(another, pair):
    stranger = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    header = part({"alg": "HS256", "typ": "JWT", "kid": "k1"})
    forged = hmac.new(pem(pair), f"{header}.{part(GOOD)}".encode(), hashlib.sha256).digest()
    signature = base64.urlsafe_b64encode(forged).rstrip(b"=").decode()
    for token in (
        f"{header}.{part(GOOD)}.{signature}",
        signed(GOOD, stranger, "RS256", kid="k1"),
        signed(GOOD, pair, "RS256", kid="k2"),
        signed(GOOD, pair, "RS512", kid="k1"),
        signed({**GOOD, "exp": NOW - 60}, pair, "RS256", kid="k1"),
        signed(GOOD, ec.generate_private_key(ec.SECP256R1()), "ES256", kid="k1"),
        "x" * 20_000,
    ):
        with pytest.raises(Problem, match="Invalid or expired"):
            another.read(token)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"keys":[]}',
        '{"keys":[{"kty":"oct","k":"c2VjcmV0c2VjcmV0","alg":"HS256"}]}',
        pytest.param("[" * 100_000, id="deep"),
    ],
)
def test_keys_that_would_let_anybody_sign_are_refused(tmp_path, content):
    path = tmp_path / "keys.json"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=r"gateway\.jwks_file"):
        read_jwks(path, CLAIMS)


def hashed(password):
    return PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(password)


@pytest.fixture
def passwords():
    return Passwords({CallerRole.OPERATOR: hashed("one"), CallerRole.READER: hashed("two")})


async def test_a_password_is_of_its_role_or_of_none(passwords):
    roles = [await passwords.role_of(typed) for typed in ("one", "two", "three", "")]

    assert roles == [CallerRole.OPERATOR, CallerRole.READER, None, None]


async def refused(logins, address, password="wrong"):
    with pytest.raises(Problem) as problem:
        await logins.role_of(password, address)
    return problem.value


async def test_wrong_passwords_are_limited_for_an_address_and_for_all(passwords):
    now = 0.0
    logins = Logins(passwords, lambda: now)

    of_one = [(await refused(logins, "a")).status_code for _ in range(6)]
    of_all = [(await refused(logins, f"b-{number}")).status_code for number in range(26)]
    limited = await refused(logins, "c")

    assert of_one == [401] * 5 + [429]
    assert of_all == [401] * 25 + [429]
    assert limited.detail == "too many wrong passwords: try again in 60 s"
    assert limited.headers == {"Retry-After": "60"}
    now = 60.0
    assert (await refused(logins, "a")).status_code == 401


async def test_a_right_password_is_let_in_however_many_were_wrong(passwords):
    logins = Logins(passwords)
    for number in range(40):
        await refused(logins, f"a-{number % 2}")

    assert await logins.role_of("one", "a-0") is CallerRole.OPERATOR


class Slow:
    """Passwords whose check ends when it is told to."""

    def __init__(self):
        self.checked = []
        self._ends = asyncio.Semaphore(0)

    async def role_of(self, password):
        self.checked.append(password)
        await self._ends.acquire()
        return None if password.startswith("wrong") else CallerRole.OPERATOR

    def end(self):
        self._ends.release()


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def crowd(logins, *typed):
    """Have all these wait for a check, one after the other."""
    tasks = []
    for password, address in typed:
        tasks.append(asyncio.create_task(logins.role_of(password, address)))
        await asyncio.sleep(0)
    yield tasks
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_one_password_is_checked_at_a_time_those_of_quiet_addresses_first():
    slow = Slow()
    logins = Logins(slow)
    guesses = [(f"wrong-{number}", "a") for number in range(9)]
    async with crowd(logins, *guesses, ("right", "b"), ("wrong-x", "a")) as tasks:
        for number in range(1, 4):
            assert len(slow.checked) == number
            slow.end()
            await until(lambda: len(slow.checked) > number)  # noqa: B023 - waited for at once

        assert slow.checked[0] == "wrong-0"
        assert "right" in slow.checked[1:3]
        await until(tasks[9].done)
        assert tasks[9].result() is CallerRole.OPERATOR


async def test_neither_the_first_nor_the_newest_of_an_address_waits_behind_all():
    slow = Slow()
    async with crowd(Logins(slow), *((f"wrong-{number}", "a") for number in range(20))):
        for number in range(1, 5):
            slow.end()
            await until(lambda: len(slow.checked) > number)  # noqa: B023 - waited for at once

    assert slow.checked == ["wrong-0", "wrong-19", "wrong-1", "wrong-18", "wrong-2"]


async def test_only_so_many_wait_for_a_check_and_only_so_long(monkeypatch):
    monkeypatch.setattr(logins_module, "_LONGEST_WAIT_SECONDS", 0.5)
    slow = Slow()
    logins = Logins(slow)
    async with crowd(logins, *((f"wrong-{number}", "a") for number in range(70))) as tasks:
        await until(lambda: sum(task.done() for task in tasks) == 5)
        await asyncio.wait(tasks[1:], timeout=10)

        assert all(task.exception().status_code == 429 for task in tasks[1:])
        slow.end()
        await asyncio.wait(tasks[:1], timeout=10)
        slow.end()
        assert await logins.role_of("right", "a") is CallerRole.OPERATOR


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        ({}, "token_secret is not set"),
        ({"token_secret": "short"}, "token_secret is shorter"),
        ({"token_secret": SECRET}, "password_hash is not set"),
        ({"token_secret": SECRET, "password_hash": "plain"}, "no argon2 hash"),
        ({"jwks_file": "/nowhere"}, "jwks_file"),
    ],
)
def test_without_password_or_secret_no_one_is_served(settings, missing):
    with pytest.raises(ConfigurationError, match=missing):
        create(RecorderClient(URL), DeadLetterAdmin(URL), GatewaySettings(**settings))

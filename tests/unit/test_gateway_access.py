"""Tokens and passwords: who is let in, and who is not."""

import asyncio
import base64
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
from jarvis_recorder.client.dead_letters import DeadLetters
from jarvis_recorder.config import GatewaySettings
from jarvis_recorder.errors import ConfigurationError
from jarvis_recorder.gateway.access import (
    Attempts,
    Caller,
    Claims,
    OwnTokens,
    Passwords,
    Role,
    read_jwks,
)
from jarvis_recorder.gateway.app import create
from jarvis_recorder.gateway.problems import Problem

URL = "amqp://localhost/"
SECRET = "0123456789abcdef0123456789abcdef"
CLAIMS = Claims("jarvis-recorder", "jarvis-recorder")
NOW = int(time.time())
GOOD = {
    "sub": "ada", "role": "operator", "iat": NOW, "exp": NOW + 3_600,
    "iss": CLAIMS.issuer, "aud": CLAIMS.audience,
}  # fmt: skip


@pytest.fixture
def own():
    return OwnTokens(SECRET, CLAIMS, 7)


def signed(claims=GOOD, key=SECRET, algorithm="HS256", **headers):
    return jwt.encode(claims, key, algorithm=algorithm, headers=headers)


def without(name):
    return {claim: value for claim, value in GOOD.items() if claim != name}


def part(document):
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


def test_a_token_given_out_speaks_for_its_role(own):
    token = own.give(Role.READER)

    assert own.read(token) == Caller("reader", Role.READER)
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 7 * 86_400


def tampered():
    header, _, signature = signed({**GOOD, "role": "reader"}).split(".")
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
    "another algorithm": signed(key=SECRET * 2, algorithm="HS512"),
    "another secret": signed(key=SECRET[::-1]),
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
    assert another.read(signed(GOOD, pair, "RS256", kid="k1")) == Caller("ada", Role.OPERATOR)


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
    ["", "[]", '{"keys":[]}', '{"keys":[{"kty":"oct","k":"c2VjcmV0c2VjcmV0","alg":"HS256"}]}'],
)
def test_keys_that_would_let_anybody_sign_are_refused(tmp_path, content):
    path = tmp_path / "keys.json"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=r"gateway\.jwks_file"):
        read_jwks(path, CLAIMS)


def hashed(password):
    return PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(password)


async def test_a_password_is_of_its_role_or_of_none():
    passwords = Passwords({Role.OPERATOR: hashed("one"), Role.READER: hashed("two")})

    roles = await asyncio.gather(*map(passwords.role_of, ("one", "two", "three", "")))

    assert roles == [Role.OPERATOR, Role.READER, None, None]


def test_wrong_passwords_are_limited_for_an_address_and_for_all():
    now = 0.0
    attempts = Attempts(lambda: now)
    for _ in range(5):
        attempts.begin("a")
    with pytest.raises(Problem, match="try again in 60 s") as limited:
        attempts.begin("a")
    assert limited.value.headers == {"Retry-After": "60"}
    for number in range(25):
        attempts.begin(f"b-{number}")
    with pytest.raises(Problem):
        attempts.begin("c")

    now = 60.0
    attempts.begin("a")


def test_a_right_password_is_no_attempt():
    attempts = Attempts(lambda: 0.0)
    for _ in range(100):
        attempts.succeeded(attempts.begin("a"))


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
def test_without_password_or_secret_nobody_is_served(settings, missing):
    with pytest.raises(ConfigurationError, match=missing):
        create(RecorderClient(URL), DeadLetters(URL), GatewaySettings(**settings))

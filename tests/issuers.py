"""An issuer of ID tokens on loopback: discovery and keys over TLS, tokens signed as CI hosts sign them."""

from __future__ import annotations

import base64
import json
import secrets
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from certificates import serving_tls

if TYPE_CHECKING:
    from collections.abc import Iterator


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _number(value: int) -> str:
    return encoded(value.to_bytes((value.bit_length() + 7) // 8, "big"))


@dataclass
class SigningKey:
    """A key of an issuer: RSA for RS256, P-256 for ES256."""

    key_id: str
    private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

    @property
    def jwk(self) -> dict[str, str]:
        """Its public half, as a JWK."""
        told = {"kid": self.key_id, "use": "sig"}
        if isinstance(self.private, rsa.RSAPrivateKey):
            of_rsa = self.private.public_key().public_numbers()
            return told | {"kty": "RSA", "alg": "RS256", "n": _number(of_rsa.n), "e": _number(of_rsa.e)}
        point = self.private.public_key().public_numbers()
        return told | {
            "kty": "EC",
            "crv": "P-256",
            "alg": "ES256",
            "x": _number(point.x),
            "y": _number(point.y),
        }

    def sign(self, claims: dict[str, Any], **header: Any) -> str:
        """A JWS in its compact form."""
        named = {"alg": self.jwk["alg"], "kid": self.key_id, "typ": "JWT", **header}
        signed = f"{encoded(json.dumps(named).encode())}.{encoded(json.dumps(claims).encode())}"
        if isinstance(self.private, rsa.RSAPrivateKey):
            signature = self.private.sign(signed.encode(), padding.PKCS1v15(), SHA256())
        else:
            r, s = decode_dss_signature(self.private.sign(signed.encode(), ec.ECDSA(SHA256())))
            signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return f"{signed}.{encoded(signature)}"


def rsa_key(key_id: str) -> SigningKey:
    return SigningKey(key_id, rsa.generate_private_key(public_exponent=65537, key_size=2048))


def ec_key(key_id: str) -> SigningKey:
    return SigningKey(key_id, ec.generate_private_key(ec.SECP256R1()))


@dataclass
class Issuer:
    """An issuer that serves."""

    url: str
    keys: list[SigningKey]
    asked: list[str] = field(default_factory=list)
    """Paths of the requests it got."""
    told: dict[str, Any] = field(default_factory=dict)
    """Claims of the job that asks for an ID token, as one of GitHub does."""
    bearer: str = field(default_factory=lambda: secrets.token_hex(16))
    """What that job must show."""

    def claims(self, audience: str, **more: Any) -> dict[str, Any]:
        """The claims of a job of GitLab on the branch main."""
        now = int(time.time())
        return {
            "iss": self.url, "aud": audience, "iat": now, "nbf": now, "exp": now + 300,
            "jti": secrets.token_hex(8), "sub": "project_path:team/demo:ref_type:tag:ref:v1.0",
            "project_path": "team/demo", "ref": "v1.0", "environment": "release",
            "ci_config_ref_uri": f"{self.url.removeprefix('https://')}/team/demo//.gitlab-ci.yml@refs/tags/v1.0",
            **more,
        }  # fmt: skip

    def github_claims(self, audience: str, **more: Any) -> dict[str, Any]:
        """The claims of a job of GitHub on the tag v1.0."""
        now = int(time.time())
        return {
            "iss": self.url, "aud": audience, "iat": now, "nbf": now, "exp": now + 300,
            "jti": secrets.token_hex(8), "sub": "repo:team/demo:ref:refs/tags/v1.0",
            "repository": "team/demo", "repository_id": "74", "repository_owner_id": "65",
            "ref": "refs/tags/v1.0", "run_id": "1658", "sha": "0" * 40,
            "workflow_ref": "team/demo/.github/workflows/conveyor.yml@refs/tags/v1.0",
            **more,
        }  # fmt: skip

    def ambient(self, query: str, authorization: str) -> dict[str, Any] | None:
        """The answer to a job of GitHub that asks for an ID token; ``None`` if it may not."""
        if authorization.casefold() != f"bearer {self.bearer}":
            return None
        audience = parse_qs(query)["audience"][0]
        return {"value": self.keys[0].sign(self.github_claims(audience, **self.told))}


@contextmanager
def running_issuer(certificate: tuple[str, str]) -> Iterator[Issuer]:
    """An issuer on a free port of loopback, with one RSA key."""
    with serving_tls(_Handler, certificate) as server:
        issuer = Issuer(f"https://localhost:{server.server_port}", [rsa_key("first")])
        server.issuer = issuer  # type: ignore[attr-defined] # what the handler finds through its server
        yield issuer


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        issuer: Issuer = self.server.issuer  # type: ignore[attr-defined] # as set above
        issuer.asked.append(self.path)
        documents: dict[str, object] = {
            "/.well-known/openid-configuration": {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/keys"},
            "/keys": {"keys": [key.jwk for key in issuer.keys]},
        }
        path, _, query = self.path.partition("?")
        if path == "/id-token":
            documents[self.path] = issuer.ambient(query, self.headers.get("Authorization", "")) or {}
        body = json.dumps(documents.get(self.path, {})).encode()
        self.send_response(200 if documents.get(self.path) else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as in the base class
        """Nothing."""

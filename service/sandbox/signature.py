"""Signs callbacks as Telnyx does: Ed25519 over `timestamp|raw body`."""

from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, datetime

from nacl.signing import SigningKey

# Known to everybody, so that the public key of a sandbox stays the same between runs.
WELL_KNOWN_SEED = b"siprec sandbox, never production"


@dataclass(frozen=True)
class Account:
    """Credentials of one account, beside those of all others."""

    api_key: str
    signing_seed: bytes  # 32 of them


class Signer:
    """A key pair, and what it signs."""

    def __init__(self, seed: bytes | None = None) -> None:
        """`seed` is 32 bytes; None takes the well-known one. Raises ValueError for another length."""
        if seed is not None and len(seed) != 32:
            raise ValueError(f"a signing seed has 32 bytes, not {len(seed)}")
        self._key = SigningKey(seed or WELL_KNOWN_SEED)

    @property
    def public_key(self) -> str:
        """Base64 of the 32 raw bytes, as Telnyx shows it."""
        return b64encode(bytes(self._key.verify_key)).decode()

    def sign(self, body: bytes, at: datetime | None = None, key: SigningKey | None = None) -> dict[str, str]:
        """The two headers for `body`, sent at `at` (default: now), by `key` (default: the sandbox's)."""
        timestamp = str(int((at or datetime.now(UTC)).timestamp()))
        signed = (key or self._key).sign(timestamp.encode() + b"|" + body)
        return {
            "telnyx-timestamp": timestamp,
            "telnyx-signature-ed25519": b64encode(signed.signature).decode(),
        }

    def forge(self, body: bytes, at: datetime) -> dict[str, str]:
        """Two headers in good shape, by a key that is not ours."""
        return self.sign(body, at, SigningKey.generate())

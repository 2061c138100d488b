"""Where the inside listens: an address and port, or a unix socket."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

LONGEST_PATH: Final = 103  # bytes; what every system takes as the name of a unix socket
FORMS: Final = "must be 127.0.0.1:8001, [::1]:8001 or unix:/path, with an IP address or localhost"
PLACE: Final = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<v4>[^\[\]:]+)):(?P<port>[0-9]{1,5})")

Address = IPv4Address | IPv6Address


@dataclass(frozen=True)
class Bind:
    """`address` and `port`, or else `path`. It names no host that would have to be looked up."""

    address: Address | None = None
    port: int = 0
    path: str = ""

    @classmethod
    def read(cls, text: str) -> Bind:
        """Raises ValueError."""
        if text.startswith("unix:"):
            return cls(path=_path(text.removeprefix("unix:")))
        place = PLACE.fullmatch(text)
        if place is None:
            raise ValueError(FORMS)
        port = int(place["port"])
        if not 0 < port < 65536:
            raise ValueError("must name a port from 1 to 65535")
        return cls(_address(place["v6"], place["v4"]), port)

    def __str__(self) -> str:
        """As gunicorn takes it."""
        return f"unix:{self.path}" if self.path else self._netloc

    @property
    def url(self) -> str:
        """Where it is reached; `/`, which leaves that to whoever asks, where this does not tell."""
        return "/" if self.address is None or self.address.is_unspecified else f"http://{self._netloc}"

    @property
    def _netloc(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in str(self.address) else f"{self.address}:{self.port}"

    def overlaps(self, host: str, port: int) -> bool:
        """Whether it may be the same as another address and port; a `host` that is a name may be any."""
        if self.address is None or port != self.port:
            return False
        try:
            other = ip_address(host)
        except ValueError:
            return True
        return other == self.address or other.is_unspecified or self.address.is_unspecified

    def is_name_of(self, listening: object) -> bool:
        """`listening` is what getsockname() says of a socket that listens."""
        if isinstance(listening, str):
            return bool(self.path) and listening == self.path
        if self.address is None or not isinstance(listening, tuple):
            return False
        return (ip_address(listening[0]), listening[1]) == (self.address, self.port)


def _path(text: str) -> str:
    if not text.startswith("/") or text.startswith("//") or "\0" in text:
        raise ValueError("must name the whole path of its socket: unix:/path")
    if len(text.encode()) > LONGEST_PATH:
        raise ValueError(f"must name a path of at most {LONGEST_PATH} bytes")
    return text


def _address(v6: str | None, v4: str | None) -> Address:
    try:
        if v6 is None:
            return IPv4Address("127.0.0.1" if v4 == "localhost" else v4 or "")
        return IPv6Address("" if "%" in v6 else v6)
    except ValueError:
        raise ValueError(FORMS) from None

"""How Triton servers are reached."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path

from serving.errors import InvalidInput
from serving.tiling import TILE

TOKEN_SETTING = "STREETBLUR_TRITON_TOKEN"  # noqa: S105 - the name of a variable
TOKEN_FILE_SETTING = "STREETBLUR_TRITON_TOKEN_FILE"  # noqa: S105
_BOUNDS = {"in_flight": (1, 256), "slot_bytes": (1_000_000, 1_000_000_000)}
_URL = re.compile(r"(grpcs?)://(\[[0-9A-Fa-f:.]+\]|[^/:@\s]+):(\d{1,5})/?")


@dataclass(frozen=True, slots=True)
class Address:
    """One server.

    Attributes:
        url: as given, ``grpc://host:port``, or ``grpcs://`` for TLS.
        target: ``host:port``.
        secure: whether it is reached by TLS.
        loopback: whether it is on this machine, as far as its name tells.
    """

    url: str
    target: str
    secure: bool
    loopback: bool

    @property
    def host(self) -> str:
        """Of ``target``, without brackets."""
        return self.target.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """Of ``target``."""
        return int(self.target.rpartition(":")[2])

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read ``url``.

        Raises:
            InvalidInput: it is none.
        """
        found = _URL.fullmatch(url.strip())
        if found is None or not 0 < int(found[3]) < 65_536:
            raise InvalidInput(
                "this is no address of a Triton server",
                where=repr(url),
                fix="Give grpc://host:port, or grpcs://host:port for TLS",
            )
        scheme, host, port = found.groups()
        target = f"{host}:{int(port)}"
        return cls(f"{scheme}://{target}", target, scheme == "grpcs", _here(host))


@dataclass(frozen=True, slots=True)
class TritonSettings:
    """How Triton servers are reached; holds no credential.

    A token is read where the servers are asked, from ``STREETBLUR_TRITON_TOKEN`` or the file that
    ``STREETBLUR_TRITON_TOKEN_FILE`` names, and sent as ``authorization: Bearer``.

    Attributes:
        urls: ``grpc://host:port`` or ``grpcs://host:port``; several servers share the work.
        timeout_s: how long one request may take.
        in_flight: requests that one worker has under way at a time, 1..256.
        outage_s: how long a request is tried while no server answers.
        shared_memory: hand pictures to servers on this machine by shared memory, where they can
            take them so.
        slot_bytes: shared memory for each request in flight; a larger request is sent. By default
            the largest picture tensor there is; 1 MB..1 GB.
        insecure: send pictures to servers elsewhere without TLS.
        ca_file: certificates to trust instead of the system's.
        cert_file, key_file: certificate and key of this client, where servers ask for them.
    """

    urls: tuple[str, ...] = ()
    timeout_s: float = 30.0
    in_flight: int = 4
    outage_s: float = 120.0
    shared_memory: bool = True
    slot_bytes: int = 3 * TILE * TILE
    insecure: bool = False
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None

    def addresses(self) -> tuple[Address, ...]:
        """The servers, each once.

        Raises:
            InvalidInput: no server, a wrong address, a server elsewhere without TLS, or settings
                that contradict each other.
        """
        found = tuple(dict.fromkeys(Address.parse(url) for url in self.urls))
        if not found:
            raise InvalidInput(
                "no server is named", where="triton.urls", fix="Give --triton grpc://host:port"
            )
        for address in found:
            if not (address.secure or address.loopback or self.insecure):
                raise InvalidInput(
                    "pictures would leave this machine unencrypted",
                    where=address.url,
                    fix="Use grpcs://, or say --insecure if the network is trusted",
                )
        if (self.ca_file or self.cert_file) and not any(one.secure for one in found):
            raise InvalidInput(
                "certificates are named, but no server is asked by TLS",
                where=", ".join(one.url for one in found),
                fix="Use grpcs://, or leave ca_file, cert_file and key_file out",
            )
        if (self.cert_file is None) != (self.key_file is None):
            raise InvalidInput("cert_file and key_file belong together", where="triton")
        for name in ("timeout_s", "outage_s"):
            if not 0 < getattr(self, name) < 86_400:
                raise InvalidInput(f"{name} is {getattr(self, name)}", where="triton")
        for name, (least, most) in _BOUNDS.items():
            if not least <= getattr(self, name) <= most:
                raise InvalidInput(
                    f"{name} is {getattr(self, name)}, not within {least}..{most}",
                    where="triton",
                    fix="Each worker reserves in_flight * slot_bytes of shared memory",
                )
        return found

    def pem(self, name: str) -> bytes | None:
        """Content of the file that the attribute ``name`` names.

        Raises:
            InvalidInput: it cannot be read.
        """
        path = getattr(self, name)
        return None if path is None else _read(Path(path), f"triton.{name}")


def token() -> str | None:
    """The token of this node, if there is one.

    Raises:
        InvalidInput: the file that should hold it cannot be read, or what is there is no token;
            the text does not repeat it.
    """
    if value := os.environ.get(TOKEN_SETTING):
        return _clean(value, TOKEN_SETTING)
    if path := os.environ.get(TOKEN_FILE_SETTING):
        return _clean(_read(Path(path), TOKEN_FILE_SETTING).decode("latin-1"), TOKEN_FILE_SETTING)
    return None


def _clean(value: str, where: str) -> str:
    """``value`` without the blanks around it; gRPC repeats in its error what it cannot send."""
    value = value.strip()
    if not re.fullmatch(r"[!-~]+", value):
        raise InvalidInput(
            "this is no token: it is empty, or holds blanks, line breaks or other characters that "
            "no header can carry",
            where=where,
            fix="Put the token there, and nothing else",
        )
    return value


def _read(path: Path, where: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(
            f"{path} cannot be read ({error.strerror})", where=where, fix="Check the path"
        ) from error


def _here(host: str) -> bool:
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False

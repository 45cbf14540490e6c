"""The outgoing door to HTTP: connections, certificates, headers from a file, proxies, time-outs.

Keeps: one request is one try, but a GET or a PUT whose connection breaks off is tried once more; one deadline for all of it; no
redirect is followed; no more than 1 MiB of an answer is held, unless more is asked for; files are read again when they change,
and a connection lives no longer than 5 minutes, so that addresses are looked up again.
Must not know: what is sent, and what an answer means.
"""

import asyncio
import errno
import io
import os
import re
import ssl
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined] # typeshed leaves it out

import aiohttp

from tracer import __version__
from tracer.clock import Clock
from tracer.errors import InputError

MOST_ANSWER_BYTES = 1 << 20  # an OTLP answer has at most a sentence
CONNECTION_AGE_S = 300.0
READ_BYTES = 1 << 20  # a watch delivers in bursts
_HEADERS_FILE_BYTES = 1 << 20
_SENT_AT_ONCE_BYTES = 1 << 20  # aiohttp warns of more, which would hold the loop
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.1
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")  # 5.5
_OWN_HEADERS = frozenset({"content-type", "content-length", "content-encoding", "transfer-encoding", "host", "connection"})
_LONGEST_NUMBER = 18
_HTTP2_SETTINGS = repr(b"\x04\x00\x00\x00\x00\x00")[2:-1]  # how the error quotes what such a server says first
_AUTOMATIC_GZIP_OR_ZLIB = 47
_FAILURES = (InputError, aiohttp.ClientError, OSError, UnicodeError, RuntimeError)
"""What keeps a request from being answered; TimeoutError is an OSError, and InvalidURL a ClientError.

A RuntimeError says that there can be no more threads; a name is looked up in one.
"""


class Reason(StrEnum):
    """Why there is no answer."""

    UNREACHABLE = "unreachable"
    """Nothing was sent: no address, no route, nobody listens."""
    LOST = "lost"
    """The connection broke; what was sent may have arrived."""
    SLOW = "slow"
    """The time was over; what was sent may have arrived."""
    UNUSABLE = "unusable"
    """Another try would end the same: no trust, no TLS, no HTTP, a proxy that refuses, a file that cannot be read."""


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """A try that came to nothing."""

    reason: Reason
    why: str
    """A clause that says what the address did, such as `cannot be reached: Connection refused`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the other side said."""

    status: int
    headers: Mapping[str, str]
    """Found by names in any case."""
    body: bytes
    """Unpacked; the first of it, if there is more than is held."""
    is_whole: bool
    """False if there was more of it, or if it was packed in a way that is not understood."""


@dataclass(frozen=True, slots=True)
class TransportSettings:
    """Files, and the way out. Empty means: not used."""

    ca_file: str = ""
    """Certificates to trust instead of the system's, PEM."""
    cert_file: str = ""
    """The client's certificate, PEM."""
    key_file: str = ""
    """Its key, PEM; empty if it stands in cert_file."""
    headers_file: str = ""
    """Headers of every request, one `Name: value` a line."""
    headers: tuple[tuple[str, str], ...] = ()
    """More headers, which those of the file replace."""
    proxy: str = ""
    is_verified: bool = True
    """Whether the other side must prove who it is."""
    server_name: str = ""
    """Which name its certificate must have; empty for that of the URL."""
    ca_named: str = "otlp.ca_file"
    """What a person calls the certificates to trust."""
    files_named: str = "otlp.ca_file, otlp.cert_file and otlp.key_file"
    """What a person calls all that TLS needs."""


@dataclass(slots=True)
class _Pool:
    """Connections that were opened with the same files."""

    session: aiohttp.ClientSession
    headers: dict[str, str]
    files: tuple[object, ...]
    opened_s: float
    tls: ssl.SSLContext | None
    """None until it is needed, for it takes a while to build; but files that were configured are looked at when they are read."""
    users: int = 0


class Transport:
    """Sends requests. Open it with `async with`."""

    def __init__(self, settings: TransportSettings, clock: Clock) -> None:
        """Prepare; nothing is read yet."""
        self._settings = settings
        self._clock = clock
        self._pool: _Pool | None = None

    async def __aenter__(self) -> Self:
        """Read the files; connections open with the first request. Raises InputError if a file cannot be used."""
        self._pool = self._open()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the connections."""
        if self._pool is not None:
            await self._pool.session.close()

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> Answer | NoAnswer:
        """Send one request and read its answer to the end, all of it within timeout_s. Raises nothing that the network does."""
        return await self._ask("POST", url, body, headers, timeout_s)

    async def put(
        self, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float, most_bytes: int = MOST_ANSWER_BYTES
    ) -> Answer | NoAnswer:
        """Put something in a place, perhaps twice; the answer is read as `get` reads it."""
        return await self._ask("PUT", url, body, headers, timeout_s, most_bytes)

    async def get(
        self, url: str, headers: Mapping[str, str], timeout_s: float, most_bytes: int = MOST_ANSWER_BYTES
    ) -> Answer | NoAnswer:
        """Ask for something small, and read the answer to its end, all of it within timeout_s. Raises as `post` does."""
        return await self._ask("GET", url, None, headers, timeout_s, most_bytes)

    async def _ask(
        self,
        method: str,
        url: str,
        body: bytes | None,
        headers: Mapping[str, str],
        timeout_s: float,
        most_bytes: int = MOST_ANSWER_BYTES,
    ) -> Answer | NoAnswer:
        data = io.BytesIO(body) if body is not None and len(body) > _SENT_AT_ONCE_BYTES else body
        try:
            async with asyncio.timeout(timeout_s), self._connections() as pool:
                sent = {**pool.headers, **headers}
                async with pool.session.request(method, url, data=data, headers=sent, **self._way(pool, url)) as response:
                    content, is_whole = await _read(response, most_bytes)
                    return Answer(response.status, response.headers, content, is_whole)
        except _FAILURES as error:
            return _no_answer(error, self._settings, f"did not answer within {timeout_s:g} s")

    async def stream(
        self, url: str, headers: Mapping[str, str], idle_s: Callable[[], float]
    ) -> AsyncGenerator[Answer | NoAnswer | bytes, None]:
        """Ask for something that may never end; give its bytes as they come. Raises nothing that the network does.

        The first bytes are none: they say that the other side has agreed. An error is one Answer, and no bytes. What breaks off,
        or is silent for longer than it may be now, ends with a NoAnswer.
        """
        try:
            async with self._connections() as pool:
                async with asyncio.timeout(idle_s()):
                    response = await pool.session.get(url, headers={**pool.headers, **headers}, **self._way(pool, url))
                try:
                    if response.status != HTTPStatus.OK:
                        async with asyncio.timeout(idle_s()):
                            content, is_whole = await _read(response)
                        yield Answer(response.status, response.headers, content, is_whole)
                        return
                    yield b""
                    while chunk := await _next_chunk(response, idle_s()):
                        yield chunk
                finally:
                    response.close()
        except _FAILURES as error:
            yield _no_answer(error, self._settings, f"was silent for {idle_s():g} s")

    def _way(self, pool: _Pool, url: str) -> dict[str, Any]:
        """Say how to get there: through which proxy, with which TLS, and that redirects are not followed."""
        if pool.tls is None and url.startswith("https:"):
            pool.tls = tls_context(self._settings)
        name = self._settings.server_name or None
        return {"proxy": self._settings.proxy or None, "ssl": pool.tls or True, "server_hostname": name, "allow_redirects": False}

    @asynccontextmanager
    async def _connections(self) -> AsyncIterator[_Pool]:
        """Lend connections that are young enough and were opened with the files as they are now."""
        pool = self._pool
        if pool is None or pool.files != _stamps(self._settings) or self._clock.now_s() - pool.opened_s > CONNECTION_AGE_S:
            self._pool, retired = self._open(), pool
            if retired is not None and not retired.users:
                await retired.session.close()
            pool = self._pool
        pool.users += 1
        try:
            yield pool
        finally:
            pool.users -= 1
            if pool is not self._pool and not pool.users:
                await pool.session.close()

    def _open(self) -> _Pool:
        files = _stamps(self._settings)  # before they are read: what changes in between is seen the next time
        headers = read_headers(self._settings)
        has_files = any((self._settings.ca_file, self._settings.cert_file, self._settings.key_file))
        tls = tls_context(self._settings) if has_files else None
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, use_dns_cache=False),  # each watch holds one; each looks the address up
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
            read_bufsize=READ_BYTES,
            headers={"User-Agent": f"tekton-tracer/{__version__}", "Accept-Encoding": "identity"},
        )
        return _Pool(session, headers, files, self._clock.now_s(), tls)


def tls_context(settings: TransportSettings) -> ssl.SSLContext:
    """Build what TLS needs. Raises InputError if a file cannot be used; nothing of it is shown."""
    try:
        for path in filter(None, (settings.ca_file, settings.cert_file, settings.key_file)):
            refuse_what_is_no_file(path)
        context = ssl.create_default_context(cafile=settings.ca_file or None)
    except (OSError, ValueError) as error:
        what = f"The CA file {settings.ca_file}" if settings.ca_file else "What the environment says of TLS"
        raise InputError(f"{what} {_fault(error, 'PEM certificates')}.") from error
    if not settings.is_verified:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if settings.key_file and not settings.cert_file:
        raise InputError(f"The key {settings.key_file} has no certificate; give otlp.cert_file too.")
    if settings.cert_file:
        files = " and ".join(filter(None, (settings.cert_file, settings.key_file)))
        try:
            # Without a password OpenSSL would ask for one on the terminal.
            context.load_cert_chain(settings.cert_file, settings.key_file or None, password="")
        except (OSError, ValueError) as error:
            raise InputError(f"The client certificate in {files} {_fault(error, 'a PEM certificate and its key')}.") from error
    return context


def read_headers(settings: TransportSettings) -> dict[str, str]:
    """Read the headers file. Raises InputError that names file and line, and never a value: it is a secret."""
    headers = dict(settings.headers)
    if not settings.headers_file:
        return headers
    path = Path(settings.headers_file)
    try:
        refuse_what_is_no_file(settings.headers_file)
        with path.open("rb") as file:
            content = file.read(_HEADERS_FILE_BYTES + 1)
        lines = content.decode().splitlines()
    except OSError as error:
        raise InputError(f"The headers file {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise InputError(f"The headers file {path} is not text in UTF-8.") from error
    if len(content) > _HEADERS_FILE_BYTES:
        raise InputError(f"The headers file {path} is larger than 1 MiB; that is none.")
    known = {name.lower(): name for name in headers}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, colon, value = (part.strip() for part in line.partition(":"))
        if not colon or (fault := header_fault(name, value)):
            raise InputError(
                f"Line {number} of the headers file {path} is {fault if colon else 'no header'}; expected `Name: value`."
            )
        headers.pop(known.get(name.lower(), ""), None)
        headers[name] = value
    return headers


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Say how long the other side asks to wait; None if it does not say, or nothing that can be understood.

    A moment counts from the answer's own `Date`, for our clock may be another one. Source: RFC 9110, 10.2.3.
    """
    said = headers.get("Retry-After", "").strip()
    if said.isascii() and said.isdigit():
        return float(said[:_LONGEST_NUMBER])
    try:
        after = parsedate_to_datetime(said) - parsedate_to_datetime(headers.get("Date", ""))
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, after.total_seconds())


def clock_offset_s(headers: Mapping[str, str], sent_ns: int, received_ns: int) -> float | None:
    """Say how far the other side's clock is ahead of ours, at least; None if it does not say.

    It says whole seconds, of some moment between our question and its answer.
    """
    try:
        said_ns = int(parsedate_to_datetime(headers.get("Date", "")).timestamp()) * 1_000_000_000
    except (ValueError, TypeError, OverflowError):
        return None
    return (max(0, said_ns - received_ns) + min(0, said_ns + 1_000_000_000 - sent_ns)) / 1e9


def header_fault(name: str, value: str) -> str:
    """Say what is wrong with a header, without its value, which may be a secret; empty if it can be sent."""
    if not _HEADER_NAME.fullmatch(name):
        return "something that is no header's name"
    if name.lower() in _OWN_HEADERS:
        return f"the header {name}, which is not to be set"
    return "" if _HEADER_VALUE.fullmatch(value) else f"the header {name} with a value that no header can have"


def is_direct(url: str, no_proxy: str) -> bool:
    """Say whether a URL is reached without a proxy, by a list such as `NO_PROXY` holds."""
    return bool(proxy_bypass_environment(urlsplit(url).netloc, {"no": no_proxy}))


def without_credentials(url: str) -> str:
    """Hide what stands before the host of a URL, and its query, however badly it is written."""
    hidden = re.sub(r"^(\w+:/*)?.*@", r"\1(hidden)@", url, flags=re.DOTALL)
    return re.sub(r"\?.*", "?(hidden)", hidden, flags=re.DOTALL)


def refuse_what_is_no_file(path: str) -> None:
    """Raise InputError for a pipe, a folder or a device: it would be read once, or never end. What is not there passes."""
    found = Path(path)
    if found.exists() and not found.is_file():
        raise InputError(f"{path} is no file; give a file, which can be read again when it changes.")


def _fault(error: Exception, expected: str) -> str:
    if isinstance(error, ssl.SSLError):
        return f"cannot be used ({error.reason or 'not PEM'}); expected {expected}"
    return f"cannot be read: {error.strerror if isinstance(error, OSError) and error.strerror else error}"


def _stamps(settings: TransportSettings) -> tuple[object, ...]:
    """Say which files there are now; when one changes, so does this."""
    return tuple(
        _stamp(path) for path in (settings.ca_file, settings.cert_file, settings.key_file, settings.headers_file) if path
    )


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


async def _next_chunk(response: aiohttp.ClientResponse, idle_s: float) -> bytes:
    """Wait for more of an answer; empty at its end."""
    async with asyncio.timeout(idle_s):
        return await response.content.readany()


async def _read(response: aiohttp.ClientResponse, most_bytes: int = MOST_ANSWER_BYTES) -> tuple[bytes, bool]:
    """Read an answer to its end, so much as it comes and as much unpacked: a few bytes of gzip can stand for gigabytes."""
    packing = response.headers.get("Content-Encoding", "identity").strip().lower()
    unpacker = zlib.decompressobj(_AUTOMATIC_GZIP_OR_ZLIB) if packing in {"gzip", "x-gzip", "deflate"} else None
    received, body = 0, bytearray()
    async for chunk in response.content.iter_any():
        received += len(chunk)
        try:
            body += chunk if unpacker is None else unpacker.decompress(chunk, most_bytes + 1 - len(body))
        except zlib.error:
            return b"", False
        if max(received, len(body)) > most_bytes:
            return bytes(body[:most_bytes]), False
    is_understood = packing == "identity" if unpacker is None else unpacker.eof or not received
    return bytes(body), is_understood


def _no_answer(error: Exception, settings: TransportSettings, slow: str) -> NoAnswer:
    """Say what a failure means; `slow` says it of a time that was over."""
    tls = _tls_error(error)
    match error:
        case TimeoutError():
            return NoAnswer(Reason.SLOW, slow)
        case InputError():
            return NoAnswer(Reason.UNUSABLE, f"was not asked: {str(error).rstrip('.')}")
        case aiohttp.InvalidURL() | UnicodeError():
            return NoAnswer(Reason.UNUSABLE, "is no address that can be asked")
        case aiohttp.ClientHttpProxyError():
            reason = Reason.UNREACHABLE if error.status in {408, 429, 500, 502, 503, 504} else Reason.UNUSABLE
            return NoAnswer(reason, f"cannot be reached through the proxy: it answered {error.status}")
        case aiohttp.ClientProxyConnectionError():
            return NoAnswer(Reason.UNREACHABLE, f"cannot be reached: the proxy is not there ({_strerror(error)})")
        case aiohttp.ClientConnectorDNSError():
            return NoAnswer(Reason.UNREACHABLE, f"cannot be reached: the name {error.host} is not known")
        case RuntimeError():
            return NoAnswer(Reason.UNREACHABLE, f"cannot be reached: {error}")
        case _ if tls is not None:
            return _tls_failure(tls, settings)
        case aiohttp.ClientConnectorError():
            return NoAnswer(Reason.UNREACHABLE, f"cannot be reached: {_strerror(error)}")
        case _:
            return _half_an_answer(error)


def _half_an_answer(error: Exception) -> NoAnswer:
    """Say what it means that something came, and no whole answer."""
    if not isinstance(error, aiohttp.ClientResponseError):
        return NoAnswer(Reason.LOST, "broke off before it had answered")
    if _HTTP2_SETTINGS in error.message:
        return NoAnswer(
            Reason.UNUSABLE, "speaks gRPC; give the port for HTTP, usually 4318 instead of 4317, or 14268 instead of 14250"
        )
    return NoAnswer(Reason.LOST, "answered with something that is no HTTP")


def _tls_failure(error: ssl.SSLError, settings: TransportSettings) -> NoAnswer:
    """Say what a failure of TLS means: whose fault it is, and so whether another try may end otherwise."""
    reason = error.reason or ""
    if isinstance(error, ssl.SSLCertVerificationError):
        return NoAnswer(Reason.UNUSABLE, f"is not trusted: {error.verify_message}; see {settings.ca_named}")
    if reason in {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"}:
        return NoAnswer(Reason.UNUSABLE, "does not speak TLS; is it http:// instead of https://?")
    if "INTERNAL_ERROR" in reason:
        return NoAnswer(Reason.LOST, "failed in its own TLS")
    said = reason.replace("_", " ").lower() or "no reason given"
    return NoAnswer(Reason.UNUSABLE, f"refuses TLS ({said}); see {settings.files_named}")


def _tls_error(error: BaseException | None) -> ssl.SSLError | None:
    """Find what TLS said among an error and its causes."""
    while error is not None and (isinstance(error, aiohttp.ClientError) or not isinstance(error, ssl.SSLError)):
        error = error.__cause__ or error.__context__
    return error


def _strerror(error: OSError) -> str:
    """Say it as the system does, for asyncio puts addresses into it."""
    if error.errno is not None and error.errno in errno.errorcode:
        return os.strerror(error.errno)
    return error.strerror or "the connection could not be opened"

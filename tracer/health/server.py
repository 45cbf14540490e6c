"""Who asks how we are? The probes and the scrapes: the incoming door to aiohttp.

Keeps: what is asked changes nothing; a request has no body, and a connection that says nothing is closed. However many are
opened, a probe is answered, and descriptors are left for our own requests.
Must not know: what makes us alive or ready, and which metrics there are.
Source: operations 10.2.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from http import HTTPStatus
from types import TracebackType
from typing import Self

from aiohttp import web

from tracer.errors import InputError
from tracer.health.verdict import Checks

KEEP_ALIVE_S = 10.0  # a scrape comes every half minute or so, a probe on a connection of its own
MOST_HEADERS, LONGEST_HEADER_BYTES = 64, 4_096
MOST_CONNECTIONS = 200  # each is a descriptor, of which a process has 1,024 in many places
STOP_WITHIN_S = 1.0

RenderMetrics = Callable[[str], Awaitable[tuple[str, bytes]]]
"""Given the header Accept, gives content type and body."""


class Server:
    """Answers `/livez`, `/readyz` and `/metrics`. Open it with `async with`."""

    def __init__(self, listen: str, live: Callable[[], Checks], ready: Callable[[], Checks], metrics: RenderMetrics) -> None:
        """Prepare. `listen` is an address and a port, such as `:8080` for all addresses, or `127.0.0.1:0` for any free port."""
        self.address = listen
        """Where it listens, once it is open."""
        self._listen = listen
        self._probes = {"/livez": live, "/readyz": ready}
        self._metrics = metrics
        self._runner: web.ServerRunner

    async def __aenter__(self) -> Self:
        """Listen. Raises InputError if that cannot be."""
        self._runner = web.ServerRunner(_Connections(self._answer), shutdown_timeout=STOP_WITHIN_S)
        await self._runner.setup()
        host, _, port = self._listen.rpartition(":")
        try:
            await web.TCPSite(self._runner, host.strip("[]") or None, int(port)).start()
        except (OSError, UnicodeError) as error:
            await self._runner.cleanup()
            raise InputError(
                f"listen is {self._listen}, where nobody can listen ({_why(error)}): "
                "free the port, or give another one, as in --listen :8081."
            ) from error
        bound_host, bound_port = self._runner.addresses[0][:2]
        self.address = f"[{bound_host}]:{bound_port}" if ":" in bound_host else f"{bound_host}:{bound_port}"
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close every connection."""
        await self._runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        probe = self._probes.get(request.path)
        if probe is None and request.path != "/metrics":
            return web.Response(status=HTTPStatus.NOT_FOUND, text="not found\n")
        if request.method != "GET":
            return web.Response(status=HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": "GET"}, text="only GET\n")
        if probe is not None:
            return _tell(probe(), is_verbose="verbose" in request.query)
        content_type, body = await self._metrics(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})


class _Connections(web.Server):
    """Those that are open. Beyond the most, an old one makes room for the new one: a probe is new, and asks at once.

    It is the oldest of the largest group: of one client, and of those that say nothing or those that ask. So whoever opens many
    closes its own, however fast it opens them anew.
    """

    def __init__(self, answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> None:
        super().__init__(
            self._hear,
            access_log=None,
            keepalive_timeout=KEEP_ALIVE_S,
            lingering_time=0.0,
            max_headers=MOST_HEADERS,
            max_line_size=LONGEST_HEADER_BYTES,
            max_field_size=LONGEST_HEADER_BYTES,
        )
        self._answer = answer
        self._open: dict[web.RequestHandler, _Connection] = {}
        """The oldest first."""

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Admit it."""
        super().connection_made(handler, transport)
        self._open[handler] = _Connection(transport, (transport.get_extra_info("peername") or ("",))[0], has_asked=False)
        if len(self._open) > MOST_CONNECTIONS:
            ((largest, _),) = Counter(one.group for one in self._open.values()).most_common(1)
            oldest = next(handler for handler, one in self._open.items() if one.group == largest)
            self._open.pop(oldest).transport.abort()  # to close it would wait for a client that does not read

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        """Forget it."""
        super().connection_lost(handler, exc)
        self._open.pop(handler, None)

    async def _hear(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.protocol in self._open:
            self._open[request.protocol] = replace(self._open[request.protocol], has_asked=True)
        return await self._answer(request)


@dataclass(frozen=True, slots=True)
class _Connection:
    transport: asyncio.Transport
    client: str
    has_asked: bool
    """A whole request."""

    @property
    def group(self) -> tuple[str, bool]:
        return self.client, self.has_asked


def _tell(checks: Checks, *, is_verbose: bool) -> web.Response:
    failed = [check.name for check in checks if not check.is_ok]
    if is_verbose:
        lines = [f"[+]{check.name} ok" if check.is_ok else f"[-]{check.name} {check.why}" for check in checks]
    else:
        lines = failed or ["ok"]
    text = "".join(f"{_one_line(line)}\n" for line in lines)
    return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE if failed else HTTPStatus.OK, text=text)


def _one_line(text: str) -> str:
    """Write what others may have said so that it stays one line, and harmless in a terminal."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def _why(error: OSError | UnicodeError) -> str:
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return (error.strerror or str(error)) if isinstance(error, OSError) else "no such name"

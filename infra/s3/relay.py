"""Passing requests to a server and answers to a client, one connection of each a session, and spoiling them by rule."""

from __future__ import annotations

import asyncio
import contextlib
from http import HTTPStatus

from infra.s3.rules import Rules, Tally
from infra.s3.wire import END, PART, Channel, Head

ERRORS = {
    404: ("NoSuchKey", "The specified key does not exist."),
    416: ("InvalidRange", "The requested range is not satisfiable"),
    429: ("SlowDown", "Please reduce your request rate."),
    502: ("BadGateway", "The server behind the proxy does not listen."),
    503: ("SlowDown", "Please reduce your request rate."),
}
LAST_PART_SECONDS = 1.0
SLOW_STEPS = 20
"""Parts a second in which a slow body comes."""


class Session:
    """A client's connection, and the one to the server that belongs to it."""

    def __init__(self, rules: Rules, client: Channel, upstream: tuple[str, int]) -> None:
        self._rules, self._client, self._upstream = rules, client, upstream
        self._server: Channel | None = None
        self._upload: asyncio.Task[bool] | None = None

    async def run(self) -> None:
        """Serve request after request until a side ends the connection, or speaks no HTTP."""
        try:
            with contextlib.suppress(OSError, ValueError):
                while (raw := await self._client.until(END)) and await self._exchange(Head(raw)):
                    pass
        finally:
            if self._upload is not None:
                self._upload.cancel()
                await asyncio.wait([self._upload])
            self._client.close()
            self._drop()

    async def _exchange(self, request: Head) -> bool:
        """Answer one request; whether the client's connection can take another."""
        tally = self._rules.arrived(request)
        if fault := self._rules.take("latency", request):
            await asyncio.sleep(fault.seconds)
        if self._rules.take("reset", request):
            self._client.reset()
            return False
        if self._rules.take("missing", request):
            return await self._refuse(request, 404)
        if fault := self._rules.take("error", request):
            return await self._refuse(request, fault.status)
        try:
            answer, server = await self._ask(request, tally)
        except ConnectionRefusedError:
            return await self._refuse(request, 502)
        kept = await self._pass_on(request, answer, server, tally)
        return await self._uploaded() and kept and request.keeps

    async def _refuse(self, request: Head, status: int) -> bool:
        """Answer as S3 does where it refuses, without asking it; whether the client's connection can take another."""
        waits = bool(request.get("expect"))
        if request.has_body and not waits:
            async for _ in self._client.body(request):
                pass
        code, message = ERRORS.get(status, (HTTPStatus(status).phrase.replace(" ", ""), "injected"))
        body = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/xml\r\n"
            f"Content-Length: {len(body)}\r\nConnection: {'close' if waits else 'keep-alive'}\r\n\r\n"
        )
        await self._client.send((head + ("" if request.method == "HEAD" else body)).encode())
        return request.keeps and not waits

    async def _ask(self, request: Head, tally: Tally) -> tuple[Head, Channel]:
        """Send a request on; the head of the answer, and the connection by which its body comes.

        A server may close a connection that idles. A request without a body is then sent again; one with a body, which
        could not be, goes over a new connection.
        """
        if self._server and not request.has_body:
            with contextlib.suppress(ConnectionError):
                await self._server.send(request.raw)
                if raw := await self._server.until(END):
                    return Head(raw), self._server
        self._drop()
        self._server = server = await Channel.to(self._upstream)
        await server.send(request.raw)
        if request.has_body:
            self._upload = asyncio.create_task(self._send_body(request, server, tally))
        while True:
            raw = await server.until(END)
            if not raw:
                raise ConnectionError("the server ended the connection without an answer")
            if (answer := Head(raw)).status >= 200:
                return answer, server
            await self._client.send(raw)

    async def _send_body(self, request: Head, server: Channel, tally: Tally) -> bool:
        """Whether the whole body of a request was sent on."""
        try:
            async for part in self._client.body(request):
                tally.received += len(part)
                await server.send(part)
        except (OSError, ValueError):
            server.sent_all()  # Who waits for the server's answer then gets it, or its end.
            return False
        return True

    async def _uploaded(self) -> bool:
        """Whether there is no more of the request to come: a server that refuses answers before it has read all."""
        upload, self._upload = self._upload, None
        if upload is None:
            return True
        await asyncio.wait([upload], timeout=LAST_PART_SECONDS)
        if not upload.done():
            upload.cancel()
            await asyncio.wait([upload])
            return False
        return upload.result()

    async def _pass_on(self, request: Head, answer: Head, server: Channel, tally: Tally) -> bool:
        """Give the client the answer, spoilt where a rule says so; whether its connection can take another request."""
        whole = answer.length
        if fault := self._rules.take("truncated", request, answer):
            kept = fault.place(answer) or 0
            if not kept and answer.get("content-range"):
                self._drop()
                return await self._refuse(request, 416)
            answer = answer.shortened(kept, fault.at)
        if request.method == "HEAD" or answer.status in (204, 304):
            await self._client.send(answer.raw)
            return answer.keeps
        cut = self._rules.take("cut", request, answer)
        stop = cut.place(answer) if cut else answer.length
        await self._pass_body(request, answer, server, stop, tally)
        if stop != whole:
            self._drop()
        framed = answer.chunked or answer.length is not None
        return answer.keeps and framed and cut is None

    async def _pass_body(self, request: Head, answer: Head, server: Channel, stop: int | None, tally: Tally) -> None:
        """The answer's head and its body, or so many bytes of it."""
        corrupted = self._rules.take("corrupted", request, answer)
        flip = corrupted.place(answer) if corrupted else None
        slow = self._rules.take("slow", request, answer)
        most = max(1, min(PART, int(slow.rate / SLOW_STEPS))) if slow else PART
        await self._client.send(answer.raw)
        done = 0
        async for part in server.body(answer, most) if stop is None else server.take(stop, most):
            data: bytearray | memoryview = part
            if flip is not None and done <= flip < done + len(part):
                data = bytearray(part)
                data[flip - done] ^= 0xFF
            if slow:
                await asyncio.sleep(len(data) / slow.rate)
            done += len(data)
            tally.sent += len(data)  # Before it is sent: who has read all finds all counted.
            await self._client.send(data)

    def _drop(self) -> None:
        if self._server is not None:
            self._server.close()
        self._server = None

"""HTTP/1.1 as a proxy needs it: heads that can be read and passed on as they came, and bodies in large parts."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
from collections.abc import AsyncIterator
from urllib.parse import unquote, urlsplit

PART = 512 * 2**10
HEAD_LIMIT = 64 * 2**10
LINE = b"\r\n"
END = LINE + LINE


class Head:
    """The first lines of a request or an answer. ``raw`` is what came, byte for byte.

    Raises:
        ValueError: this is not HTTP/1.
    """

    def __init__(self, raw: bytes) -> None:
        line, *fields = raw.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        self.raw = raw
        self.words = line.split(" ", 2)
        self._fields = {name.lower(): value.strip() for name, _, value in (f.partition(":") for f in fields)}
        if len(self.words) < 2 or "HTTP/1." not in line:
            raise ValueError(f"not HTTP: {line[:100]!r}")

    @property
    def method(self) -> str:
        return self.words[0]

    @property
    def path(self) -> str:
        """Of a request: what is asked for, without the query."""
        return unquote(urlsplit(self.words[1]).path)

    @property
    def status(self) -> int:
        return int(self.words[1])

    @property
    def chunked(self) -> bool:
        return "chunked" in self.get("transfer-encoding").lower()

    @property
    def length(self) -> int | None:
        """Bytes of the body, where the head says so."""
        said = self.get("content-length")
        return int(said) if said and not self.chunked else None

    @property
    def has_body(self) -> bool:
        """Of a request: whether a body follows, or is announced, even an empty one."""
        return self.chunked or bool(self.length) or bool(self.get("expect"))

    @property
    def start(self) -> int:
        """Of an answer: the byte of the object where its body begins."""
        found = re.match(r"bytes (\d+)-", self.get("content-range"))
        return int(found[1]) if found else 0

    @property
    def keeps(self) -> bool:
        """Whether its sender keeps the connection."""
        said = self.get("connection").lower()
        return "close" not in said and ("HTTP/1.0" not in self.words or "keep-alive" in said)

    def get(self, name: str) -> str:
        return self._fields.get(name, "")

    def shortened(self, length: int, total: int | None = None) -> Head:
        """An answer of the first ``length`` bytes of this one's body, of an object of ``total`` (None: as it was)."""
        raw = _replace(self.raw, "content-length", str(length))
        if said := self.get("content-range"):
            size = said.rpartition("/")[2] if total is None else total
            raw = _replace(raw, "content-range", f"bytes {self.start}-{self.start + length - 1}/{size}")
        return Head(raw)


def _replace(raw: bytes, name: str, value: str) -> bytes:
    return re.sub(rf"(?im)^({name}:)[^\r\n]*".encode(), rb"\g<1> " + value.encode(), raw, count=1)


class Channel:
    """One connection. Every method raises OSError when the other side is gone.

    Sockets are used without asyncio's streams, which copy each byte twice more.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = connection
        self._loop = asyncio.get_running_loop()
        self._buffer = memoryview(bytearray(PART))
        self._rest = memoryview(b"")

    @classmethod
    async def to(cls, address: tuple[str, int]) -> Channel:
        """A new connection to a numeric address."""
        connection = socket.socket()
        try:
            connection.setblocking(False)
            await asyncio.get_running_loop().sock_connect(connection, address)
            return cls(connection)
        except BaseException:
            connection.close()
            raise

    async def until(self, mark: bytes) -> bytes:
        """What comes up to and with ``mark``; nothing where the connection ends before its first byte."""
        data = bytes(self._rest)
        while (at := data.find(mark)) < 0:
            more = await self._loop.sock_recv(self._socket, HEAD_LIMIT)
            if not more and not data:
                return b""
            if not more or len(data) > HEAD_LIMIT:
                raise ConnectionError("a head without an end")
            data += more
        at += len(mark)
        self._rest = memoryview(data)[at:]
        return data[:at]

    async def take(self, size: int | None, most: int = PART) -> AsyncIterator[memoryview]:
        """The next ``size`` bytes (None: all to the end of the connection), in parts that hold until the next."""
        while size is None or size > 0:
            want = most if size is None else min(most, size)
            if self._rest:
                part, self._rest = self._rest[:want], self._rest[want:]
            else:
                count = await self._loop.sock_recv_into(self._socket, self._buffer[:want])
                part = self._buffer[:count]
            if part:
                yield part
            elif size is None:
                return
            else:
                raise ConnectionError("a body without its end")
            size = None if size is None else size - len(part)

    async def body(self, head: Head, most: int = PART) -> AsyncIterator[memoryview]:
        """The body that follows a head, framed as it came."""
        if not head.chunked:
            async for part in self.take(head.length, most):
                yield part
            return
        size = -1
        while size:
            line = await self.until(LINE)
            yield memoryview(line)
            size = int(line.split(b";")[0], 16)
            async for part in self.take(size + len(LINE) if size else 0, most):
                yield part
        while line != LINE:  # of the trailer
            line = await self.until(LINE)
            yield memoryview(line)

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        await self._loop.sock_sendall(self._socket, data)

    def sent_all(self) -> None:
        """Nothing more will be sent."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        # A process that was forked in between may hold the socket too; the other side learns of the end all the same.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def reset(self) -> None:
        """End the connection so that the other side sees an error, not an end."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

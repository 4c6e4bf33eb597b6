"""Messages between the stream and its worker processes: JSON over a socket pair, descriptors beside it."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Sequence
from typing import Any

from training.errors import StreamError
from training.streaming.config import Task
from training.streaming.jobs import Item, Job, MemberAt

_HEAD = struct.Struct("<II")
_FDS = 4


class Channel:
    """One end of a socket pair. Sending is safe from several threads; receiving is for one."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._sending = threading.Lock()

    def send(self, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """Raises OSError where the other end is gone."""
        body = json.dumps(message, separators=(",", ":")).encode()
        with self._sending:
            socket.send_fds(self._link, [_HEAD.pack(len(body), len(fds))], list(fds))
            self._link.sendall(body)

    def receive(self) -> tuple[dict[str, Any], list[int]]:
        """The next message and its descriptors, which are the receiver's to close.

        Raises:
            EOFError: the other end is gone.
            StreamError: this process may open no more files.
        """
        try:
            head, fds, _, _ = socket.recv_fds(self._link, _HEAD.size, _FDS)
            head += self._exactly(_HEAD.size - len(head)) if head else b""
            if not head:
                raise EOFError
            size, wanted = _HEAD.unpack(head)
            message: dict[str, Any] = json.loads(self._exactly(size))
        except OSError:
            raise EOFError from None
        if len(fds) != wanted:
            raise StreamError("too many micro-batches are kept for the files this process may open: raise ulimit -n")
        return message, fds

    def _exactly(self, size: int) -> bytes:
        body = bytearray(size)
        view = memoryview(body)
        at = 0
        while at < size:
            got = self._link.recv_into(view[at:])
            if got == 0:
                raise EOFError
            at += got
        return bytes(body)

    def shut(self) -> None:
        """End both directions, also for a process that inherited this end; who sends or receives is woken."""
        with contextlib.suppress(OSError):
            self._link.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._link.close()


def pack_job(job: Job) -> dict[str, Any]:
    """A job as JSON values; ``unpack_job`` is its inverse."""
    items = [
        [item.key, item.task, item.partition, item.tokens, item.shard, [list(member) for member in item.members]]
        for item in job.items
    ]
    return {"epoch": job.epoch, "position": job.position, "items": items}


def unpack_job(packed: dict[str, Any]) -> Job:
    items = tuple(
        Item(key, Task(task), partition, tokens, shard, tuple(MemberAt(*member) for member in members))
        for key, task, partition, tokens, shard, members in packed["items"]
    )
    return Job(packed["epoch"], packed["position"], items)

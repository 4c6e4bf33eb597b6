"""Memory and messages between the stream and its workers."""

from __future__ import annotations

import gc
import os
import socket
import threading

import numpy as np
import pytest

from training.streaming.channel import Channel, pack_job, unpack_job
from training.streaming.config import Task
from training.streaming.frames import Frame, FramePool
from training.streaming.jobs import Item, Job, MemberAt
from training.streaming.worker import arrays, located, place


def test_both_sides_see_one_memory() -> None:
    ours = Frame.create(3, 4096)
    assert ours.fd is not None
    theirs = Frame.attach(3, os.dup(ours.fd), 4096)
    ours.bytes[10:13] = (1, 2, 3)
    assert theirs.bytes[10:13].tolist() == [1, 2, 3]
    kept = theirs.bytes
    assert theirs.fd is None
    ours.close()
    ours.close()
    assert kept[11] == 2
    assert ours.fd is None


def test_frames_are_used_again_and_few_are_kept() -> None:
    pool = FramePool(spare=8 * 2**20)
    first = pool.take(1000)
    assert first.size >= 1000
    pool.give(first)
    assert pool.take(500) is first
    large = pool.take(3 * 2**20)
    assert large is not first and large.size >= 3 * 2**20
    pool.give(first)
    pool.give(large)
    assert pool.take(3 * 2**20) is large
    many = [pool.take(1) for _ in range(20)]
    assert len({frame.number for frame in many}) == 20
    let_go = [pool.give(frame) for frame in many]
    assert sum(len(frames) for frames in let_go) >= 8
    assert all(frame.fd is None for frames in let_go for frame in frames)
    pool.close()


def test_messages_of_any_size_with_descriptors() -> None:
    left, right = socket.socketpair()
    ours, theirs = Channel(left), Channel(right)
    large = {"text": "x" * 3_000_000}
    frame = Frame.create(0, 64)
    frame.bytes[0] = 7
    assert frame.fd is not None
    sender = threading.Thread(target=lambda: (ours.send(large), ours.send({"n": 1}, [frame.fd or 0]), ours.send({})))
    sender.start()
    assert theirs.receive() == (large, [])
    message, (fd,) = theirs.receive()
    assert message == {"n": 1} and fd != frame.fd
    assert Frame.attach(0, fd, 64).bytes[0] == 7
    assert theirs.receive() == ({}, [])
    sender.join()
    ours.close()
    with pytest.raises(EOFError):
        theirs.receive()
    with pytest.raises(OSError, match=r"."):
        theirs.send(large)
    theirs.close()


def test_a_job_survives_the_way() -> None:
    members = (MemberAt("json", 512, 10, "0" * 64), MemberAt("layer_00.webp", 1536, 5, "f" * 64))
    job = Job(2, 7, (Item("k" * 32, Task.ADD_LAYER, -1, 12, "shards/a.tar", members),))
    assert unpack_job(pack_job(job)) == job
    assert unpack_job(pack_job(Job(0, 1))) == Job(0, 1)


def test_arrays_lie_apart_and_are_found_again() -> None:
    wanted = {"a": ((3, 2), np.float32), "empty": ((0, 4), np.int32), "b": ((5,), np.uint8), "flag": ((2,), np.bool_)}
    places, size = place(wanted)
    frame = Frame.create(0, 4096)
    made = arrays(frame.bytes, places)
    for number, array in enumerate(made.values(), 1):
        array[...] = number % 2
    made["a"][...] = 5.5
    again = arrays(frame.bytes, {name: located(array, frame) for name, array in made.items()})
    assert size <= 4096
    for name, (shape, dtype) in wanted.items():
        assert again[name].shape == shape and again[name].dtype == dtype
        assert np.array_equal(again[name], made[name])
    with pytest.raises(AssertionError, match="the memory that it is given"):
        located(np.ones(4), frame)


def test_a_view_of_a_frame_outlives_the_pool() -> None:
    pool = FramePool()
    frame = pool.take(100)
    view = frame.bytes[:100]
    view[:] = 9
    pool.give(frame)
    pool.close()
    del frame, pool
    gc.collect()
    assert view.sum() == 900

"""Messages between the registered process and its worker."""

from __future__ import annotations

import os
import time

import pytest

from lambdatrace.agent import channel as channels


def test_messages_keep_their_borders_and_order() -> None:
    one, other = channels.pair()
    for number in range(3):
        one.send({"number": number, "text": "ä" * number})
    received = [other.receive() for _ in range(3)]
    assert received == [({"number": n, "text": "ä" * n}, []) for n in range(3)]
    other.send({"back": True})
    assert one.receive() == ({"back": True}, [])


def test_nothing_comes_in_time() -> None:
    one, other = channels.pair()
    assert one.receive(time.monotonic() + 0.01) is None
    assert one.receive(time.monotonic() - 10) is None  # a deadline that has passed
    other.send({})
    assert one.receive(time.monotonic() - 10) == ({}, [])


@pytest.mark.parametrize("count", [1, 250])
def test_descriptors_arrive_and_work(count: int) -> None:
    one, other = channels.pair()
    pipes = [os.pipe() for _ in range(count)]
    one.send({"ready": True}, [write for _, write in pipes])
    for _, write in pipes:
        os.close(write)
    received = other.receive()
    assert received is not None
    message, descriptors = received
    assert message == {"ready": True}
    assert len(descriptors) == count
    for number, ((read, _), write) in enumerate(zip(pipes, descriptors, strict=True)):
        os.write(write, str(number).encode())
        os.close(write)
        assert os.read(read, 100) == str(number).encode()
        os.close(read)


def test_a_closed_end_is_told_to_who_receives_and_who_sends() -> None:
    one, other = channels.pair()
    other.send({"last": "words"})
    other.close()
    assert one.receive() == ({"last": "words"}, [])
    for _ in range(2):
        with pytest.raises(channels.Closed):
            one.receive()
    with pytest.raises(channels.Closed):
        one.send({})


def test_an_end_whose_process_died_is_closed() -> None:
    one, other = channels.pair()
    pid = os.fork()
    if pid == 0:
        other.send({"pid": os.getpid()})
        os._exit(0)
    other.close()
    assert one.receive() == ({"pid": pid}, [])
    with pytest.raises(channels.Closed):
        one.receive(time.monotonic() + 10)
    os.waitpid(pid, 0)

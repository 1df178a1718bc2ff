"""One of each kind of connection a function can make. Argument: JSON of addresses and ports.

Run under strace and the probe at the same time by test_against_strace.py. Left out, because the
probe counts no bytes there: what a grandchild sends on a connection of its grandparent, and what a
child sends after exec on a connection of its parent that kept its number. (The connections
themselves are seen; a child's standard streams are, too.)
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

P = json.loads(sys.argv[1])
HERE = "127.0.0.1"
TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM
LIBC = ctypes.CDLL(None, use_errno=True)
UNSPECIFIED = struct.pack("=H14x", socket.AF_UNSPEC)
MSG_FASTOPEN = 0x20000000


def talk(s: socket.socket, out: int = 100) -> None:
    s.sendall(b"x" * out)
    left = out
    while left:
        got = len(s.recv(65536))
        assert got
        left -= got


def blocking() -> None:
    s = socket.socket()
    s.connect((HERE, P["echo"]))
    talk(s, 100)
    talk(s, 200_000)
    s.close()
    socket.create_connection((HERE, P["echo"])).close()  # not a byte


def with_timeout() -> None:
    with socket.create_connection((HERE, P["echo"]), timeout=5) as s:
        talk(s, 321)
    with contextlib.suppress(TimeoutError):
        socket.create_connection((HERE, P["full"]), timeout=0.1)
    s = socket.socket()
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 300)
    assert s.connect_ex((HERE, P["full"])) == errno.ETIMEDOUT
    s.close()


def non_blocking_by_hand() -> None:
    s = socket.socket()
    s.setblocking(False)
    assert s.connect_ex((HERE, P["echo"])) == errno.EINPROGRESS
    select.select([], [s], [])
    assert s.connect_ex((HERE, P["echo"])) == 0
    assert s.connect_ex((HERE, P["echo"])) == errno.EISCONN
    s.setblocking(True)
    talk(s, 17)
    s.close()
    s = socket.socket()
    s.setblocking(False)
    assert s.connect_ex((HERE, P["refused"])) == errno.EINPROGRESS
    select.select([], [s], [])
    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
    s.close()
    s = socket.socket()
    s.setblocking(False)
    assert s.connect_ex((HERE, P["full"])) == errno.EINPROGRESS
    assert s.connect_ex((HERE, P["full"])) == errno.EALREADY
    s.close()


def with_asyncio() -> None:
    async def one(size: int) -> None:
        reader, writer = await asyncio.open_connection(HERE, P["echo"])
        writer.write(b"y" * size)
        await writer.drain()
        await reader.readexactly(size)
        writer.close()
        await writer.wait_closed()

    async def everything() -> None:
        await asyncio.gather(*(one(1000 + i) for i in range(5)))
        with contextlib.suppress(ConnectionRefusedError):
            await asyncio.open_connection(HERE, P["refused"])
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.open_connection(HERE, P["full"]), 0.1)

    asyncio.run(everything())


def threads() -> None:
    def work(number: int) -> None:
        for turn in range(3):
            with socket.create_connection((HERE, P["echo"])) as s:
                talk(s, 10 * number + turn + 1)

    running = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    # One thread connects, another uses, a third closes.
    s = socket.create_connection((HERE, P["echo"]))
    for step in (lambda: talk(s, 77), s.close):
        thread = threading.Thread(target=step)
        thread.start()
        thread.join()


def fork() -> None:
    pid = os.fork()
    if pid == 0:
        with socket.create_connection((HERE, P["echo"])) as s:
            talk(s, 55)
        os._exit(0)
    os.waitpid(pid, 0)
    # The child uses what its parent opened, then closes it; the parent goes on using it.
    s = socket.create_connection((HERE, P["echo"]))
    talk(s, 5)
    pid = os.fork()
    if pid == 0:
        talk(s, 6)
        s.close()
        os._exit(0)
    os.waitpid(pid, 0)
    talk(s, 7)
    s.close()
    # The child is the last one to hold it, and ends without closing it.
    s = socket.create_connection((HERE, P["echo"]))
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(told, 1)
        talk(s, 8)
        os._exit(0)
    s.close()
    os.write(tell, b"!")
    os.waitpid(pid, 0)
    os.close(told)
    os.close(tell)


def in_child(step: Callable[[], object]) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            step()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def descendants() -> None:
    s = socket.create_connection((HERE, P["echo"]))
    datagrams = socket.socket(type=UDP)
    datagrams.connect((HERE, P["udp"][0]))

    def both() -> None:
        talk(s, 21)
        datagrams.send(b"from below")
        datagrams.recv(100)

    in_child(both)
    both()
    s.close()
    datagrams.close()


def handed_over() -> None:
    def becomes_a_program() -> None:
        s = socket.create_connection((HERE, P["echo"]))
        s.set_inheritable(True)
        forgotten = socket.socket(type=UDP)
        forgotten.connect((HERE, P["udp"][0]))
        forgotten.send(b"once")
        # bash gives a file the number that this one loses by exec.
        file = f"exec {forgotten.fileno()}>/dev/null; echo not for the network >&{s.fileno() + 1}"
        assert forgotten.fileno() == s.fileno() + 1
        script = f"echo hi >&{s.fileno()}; read -r answer <&{s.fileno()}; {file}"
        os.execvp("bash", ["bash", "-c", script])

    in_child(becomes_a_program)


def shared() -> None:
    """Threads that send on one connection at the same time."""
    s = socket.create_connection((HERE, P["sink"]))

    def send() -> None:
        for _ in range(300):
            s.send(b"12345")

    running = [threading.Thread(target=send) for _ in range(3)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    s.close()


def interrupted() -> None:
    class AlarmError(Exception):
        pass

    def ring(*_: object) -> None:
        raise AlarmError

    signal.signal(signal.SIGALRM, ring)
    s = socket.socket()
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    with contextlib.suppress(AlarmError):
        s.connect((HERE, P["full"]))
    s.close()
    s = socket.create_connection((HERE, P["echo"]))
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    with contextlib.suppress(AlarmError):
        s.recv(10)
    talk(s, 18)
    s.close()


def abrupt() -> None:
    s = socket.create_connection((HERE, P["echo"]))
    talk(s, 19)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()
    s = socket.create_connection((HERE, P["echo"]))
    s.shutdown(socket.SHUT_RDWR)
    s.close()
    # Taken apart by connect(AF_UNSPEC), and connected again.
    s = socket.create_connection((HERE, P["echo"]))
    talk(s, 23)
    assert LIBC.connect(s.fileno(), UNSPECIFIED, 16) == 0
    s.connect((HERE, P["echo"]))
    talk(s, 24)
    s.close()
    # The peer is gone: what is sent then fails.
    s = socket.create_connection((HERE, P["reset"]))
    s.send(b"go away")
    poll = select.poll()
    poll.register(s, 0)
    poll.poll()
    with contextlib.suppress(ConnectionResetError):
        s.send(b"anybody there?")
        raise AssertionError
    with contextlib.suppress(BrokenPipeError):
        s.send(b"anybody there?")
        raise AssertionError
    s.close()


def fast_open() -> None:
    s = socket.socket()
    assert s.sendto(b"f" * 29, MSG_FASTOPEN, (HERE, P["echo"])) == 29
    left = 29
    while left:
        left -= len(s.recv(100))
    s.close()


def unconnected() -> None:
    s = socket.socket(type=UDP)
    s.sendto(b"who", (HERE, P["udp"][1]))
    s.recv(100)  # tells nobody where it came from
    s.sendto(b"what", (HERE, P["udp"][2]))
    s.recv_into(bytearray(100))
    s.close()


def programs() -> None:
    script = f"exec 3<>/dev/tcp/{HERE}/{P['echo']}; echo hello >&3; read -r answer <&3"
    subprocess.run(["bash", "-c", script], check=True)
    subprocess.run(["bash", "-c", f"{script}; exec 3>&-; {script}"], check=True)
    # A connection that becomes a program's standard streams.
    s = socket.create_connection((HERE, P["late"]))
    s.send(b"12")
    s.shutdown(socket.SHUT_WR)
    subprocess.run(["cat"], stdin=s, stdout=subprocess.DEVNULL, check=True)
    s.close()


def ipv6() -> None:
    with socket.create_connection(("::1", P["echo6"])) as s:
        talk(s, 66)
    with socket.create_connection(("::1", P["echo6"]), timeout=5) as s:
        talk(s, 67)
    s = socket.socket(socket.AF_INET6)
    s.connect((f"::ffff:{HERE}", P["echo"]))
    talk(s, 46)
    s.close()
    s = socket.socket(socket.AF_INET6, UDP)
    s.sendto(b"abc", ("::1", P["udp6"]))
    s.recvfrom(100)
    s.close()
    with contextlib.suppress(ConnectionRefusedError):
        socket.create_connection(("::1", P["refused"]))


class Message(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("iov", ctypes.c_void_p),
        ("iov_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int64),
        ("length", ctypes.c_uint32),
    )


assert ctypes.sizeof(Message) == 64


class Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def messages(sizes: list[int]) -> tuple[ctypes.Array[Message], list[object]]:
    array = (Message * len(sizes))()
    keep: list[object] = []
    for message, size in zip(array, sizes, strict=True):
        buffer = ctypes.create_string_buffer(size)
        vector = Vector(ctypes.addressof(buffer), size)
        message.iov, message.iov_length = ctypes.addressof(vector), 1
        keep += [buffer, vector]
    return array, keep


def udp() -> None:
    s = socket.socket(type=UDP)
    s.connect((HERE, P["udp"][0]))
    s.send(b"1" * 30)
    s.recv(100)
    s.send(b"2" * 31)
    s.recvfrom(100)
    s.connect((HERE, P["udp"][1]))  # another peer: another connection
    s.send(b"3" * 32)
    s.recv(100)
    s.close()
    s = socket.socket(type=UDP)
    for turn in range(2):
        for number, port in enumerate(P["udp"]):
            s.sendto(b"4" * (40 + number + turn), (HERE, port))
            s.recvfrom(200)
    s.sendmsg([b"5" * 10, b"6" * 11], [], 0, (HERE, P["udp"][2]))
    s.recvmsg(200)
    s.close()
    # As the resolver does it: several messages in a call, answers one by one.
    s = socket.socket(type=UDP)
    s.connect((HERE, P["udp"][0]))
    array, keep = messages([20, 21, 22])
    assert LIBC.sendmmsg(s.fileno(), array, 3, 0) == 3
    for _ in range(2):
        s.recv(100)
    array, keep = messages([100])
    assert LIBC.recvmmsg(s.fileno(), array, 1, 0, None) == 1
    # More messages than the probe looks at in one turn.
    array, keep = messages([1 + i % 7 for i in range(100)])
    assert LIBC.sendmmsg(s.fileno(), array, 100, 0) == 100
    del keep
    s.close()
    # The peer speaks first.
    waiting = socket.socket(type=UDP)
    waiting.bind((HERE, 0))
    s = socket.socket(type=UDP)
    s.sendto(b"7" * 9, waiting.getsockname())
    _, peer = waiting.recvfrom(100)
    waiting.sendto(b"8" * 4, peer)
    s.recvfrom(100)
    s.close()
    waiting.close()


def resolver() -> None:
    found = socket.getaddrinfo("partner.test", P["echo"], type=TCP)
    assert len(found) == 2, found
    with socket.create_connection((HERE, P["echo"])) as s:
        talk(s, 3)


def refused() -> None:
    for timeout in (None, 5.0):
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection((HERE, P["refused"]), timeout=timeout)
    s = socket.socket(type=UDP)
    s.connect((HERE, P["refused"]))
    s.send(b"anybody?")
    try:
        s.recv(10)
        raise AssertionError
    except ConnectionRefusedError:
        pass
    s.close()


def unreachable() -> None:
    for family, address in (
        (socket.AF_INET, "192.0.2.1"),
        (socket.AF_INET6, "2001:db8::1"),
        (socket.AF_INET, P["no_host"]),
        (socket.AF_INET, P["prohibited"]),
    ):
        for kind, timeout in ((TCP, None), (TCP, 5.0), (UDP, None)):
            s = socket.socket(family, kind)
            s.settimeout(timeout)
            failed = s.connect_ex((address, 443))
            assert failed in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES), failed
            s.close()
    s = socket.socket(type=UDP)
    with contextlib.suppress(OSError):
        s.sendto(b"nowhere", ("192.0.2.1", 53))
    s.close()


def half_close() -> None:
    for timeout in (None, 5.0):
        with socket.create_connection((HERE, P["late"]), timeout=timeout) as s:
            s.sendall(b"q" * 500)
            s.shutdown(socket.SHUT_WR)
            while s.recv(1000):
                pass


def duplicates() -> None:
    s = socket.create_connection((HERE, P["echo"]))
    other = s.dup()
    s.close()
    talk(other, 12)
    other.close()
    s = socket.create_connection((HERE, P["echo"]))
    high = os.dup2(s.fileno(), 200)
    talk(s, 13)
    s.close()
    os.write(high, b"z" * 14)
    left = 14
    while left:
        left -= len(os.read(high, 100))
    os.close(high)
    s = socket.socket(type=UDP)
    s.connect((HERE, P["udp"][0]))
    other = s.dup()
    s.close()
    other.send(b"through the copy")
    other.recv(100)
    other.close()
    # dup2 closes what was there.
    first = socket.create_connection((HERE, P["echo"]))
    second = socket.create_connection((HERE, P["echo"]))
    os.dup2(second.fileno(), first.fileno())
    talk(first, 15)
    second.close()
    first.close()


def reset() -> None:
    for timeout in (None, 5.0):
        s = socket.create_connection((HERE, P["reset"]), timeout=timeout)
        s.send(b"r" * 10)
        try:
            s.recv(10)
            raise AssertionError
        except ConnectionResetError:
            pass
        s.close()


def same_descriptor() -> None:
    numbers = set()
    for turn in range(6):
        s = socket.create_connection((HERE, P["echo"]))
        talk(s, 20 + turn)
        numbers.add(s.fileno())
        s.close()
    assert len(numbers) == 1
    # What takes the number next is no connection.
    with tempfile.TemporaryFile(buffering=0) as file:
        assert file.fileno() in numbers
        file.write(b"not for the network")
    left, right = socket.socketpair()
    left.sendall(b"nor this")
    right.recv(100)
    left.close()
    right.close()
    listener = socket.create_server((HERE, 0))
    s = socket.create_connection(listener.getsockname())
    accepted, _ = listener.accept()
    s.sendall(b"to ourselves")
    accepted.sendall(b"and " + accepted.recv(100))
    s.recv(100)
    accepted.close()
    s.close()
    listener.close()


def again_on_the_same_socket() -> None:
    s = socket.socket()
    with contextlib.suppress(ConnectionRefusedError):
        s.connect((HERE, P["refused"]))
    s.connect((HERE, P["echo"]))
    talk(s, 33)
    s.close()
    s = socket.socket()
    s.settimeout(5)
    with contextlib.suppress(ConnectionRefusedError):
        s.connect((HERE, P["refused"]))
    # Linux answers the first call after a failure that was fetched by getsockopt with this, and
    # does nothing.
    with contextlib.suppress(ConnectionAbortedError):
        s.connect((HERE, P["echo"]))
        raise AssertionError
    with contextlib.suppress(ConnectionRefusedError):
        s.connect((HERE, P["refused"]))
    with contextlib.suppress(ConnectionAbortedError):
        s.connect((HERE, P["echo"]))
    s.connect((HERE, P["echo"]))
    talk(s, 34)
    s.close()


def other_calls() -> None:
    s = socket.create_connection((HERE, P["echo"]))
    fd = s.fileno()
    os.write(fd, b"a" * 10)
    os.writev(fd, [b"b" * 11, b"c" * 12])
    s.sendmsg([b"d" * 13])
    with tempfile.TemporaryFile() as file:
        file.write(b"e" * 14)
        file.flush()
        os.sendfile(fd, file.fileno(), 0, 14)
    select.select([s], [], [])
    s.recv(5, socket.MSG_PEEK)
    os.read(fd, 4)
    buffers = [bytearray(3), bytearray(4)]
    os.readv(fd, buffers)
    left = 60 - 4 - 7
    while left:
        left -= len(s.recvmsg(9)[0])
    s.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        s.recv(100)
    os.closerange(fd, fd + 1)
    s.detach()


def left_open() -> None:
    global forgotten
    forgotten = socket.create_connection((HERE, P["echo"]))
    talk(forgotten, 9)


def dissolved() -> None:
    s = socket.socket(type=UDP)
    s.connect((HERE, P["udp"][0]))
    s.send(b"to the first")
    s.recv(100)
    assert LIBC.connect(s.fileno(), UNSPECIFIED, 16) == 0
    s.sendto(b"to the second", (HERE, P["udp"][1]))
    s.recvfrom(100)
    s.close()


SCENARIOS = [
    blocking, with_timeout, non_blocking_by_hand, with_asyncio, threads, fork, programs, ipv6, udp,
    resolver, refused, unreachable, half_close, duplicates, reset, same_descriptor,
    again_on_the_same_socket, other_calls, dissolved, descendants,
    handed_over, shared, interrupted, abrupt, fast_open, unconnected, left_open,
]  # fmt: skip

if __name__ == "__main__":
    wanted = sys.argv[2:]
    for scenario in SCENARIOS:
        if not wanted or scenario.__name__ in wanted:
            scenario()

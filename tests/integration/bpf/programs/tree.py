"""A process tree whose every member connects to a port of its own. Argument: JSON of the ports."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading

PORTS = json.loads(sys.argv[1])


def connect(name: str) -> None:
    socket.create_connection(("127.0.0.1", PORTS[name])).close()


def shell(name: str) -> list[str]:
    return ["bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{PORTS[name]}"]


def in_child(*steps: object) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            for step in steps:
                step()  # type: ignore[operator]
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def in_thread(step: object) -> None:
    thread = threading.Thread(target=step)  # type: ignore[arg-type]
    thread.start()
    thread.join()


def exec_from_a_thread() -> None:
    command = shell("exec_from_thread")
    in_thread(lambda: os.execvp(command[0], command))


def daemon() -> None:
    done, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        gone, hold = os.pipe()
        if os.fork() == 0:
            os.close(hold)
            os.read(gone, 1)  # until the process in between has ended
            connect("daemon")
            os.write(tell, b"!")
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(tell)
    assert os.read(done, 1) == b"!"


connect("main")
in_thread(lambda: connect("thread"))
in_thread(lambda: in_thread(lambda: connect("thread_of_a_thread")))
in_child(
    lambda: connect("child"),
    lambda: in_thread(lambda: connect("thread_of_a_child")),
    lambda: in_child(lambda: connect("grandchild")),
)
in_thread(lambda: in_child(lambda: connect("child_of_a_thread")))
subprocess.run(shell("exec"), check=True)
spawned = shell("posix_spawn")
os.waitpid(os.posix_spawnp(spawned[0], spawned, os.environ), 0)
in_child(exec_from_a_thread)
subprocess.run(
    ["unshare", "--pid", "--fork", *shell("in_a_pid_namespace")], check=True, close_fds=False
)
daemon()
os.execvp("bash", shell("main_after_exec"))

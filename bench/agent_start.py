"""The agent from its start to its first `next`: CPU, peak memory, and what it imports.

A stand-in for the Extensions API answers `register` and notes the moment of `next`; the agent, its
worker, the probe and the kernel are the real ones. CPU is that of both processes; memory is the
larger peak, and both together with shared pages counted once (PSS). The rival is what the agent
does without: a Python that imports boto3 and makes a DynamoDB client.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from _harness import REPOSITORY, cpu_ns, interleave, report

from lambdatrace.emulator import agent_command
from lambdatrace.layer.unpacked import unpacked_layer

ROUNDS = 9
SETTLED_S = 0.7
FORBIDDEN = ("boto3", "botocore", "pandas", "rich", "typer")

BOTO3 = """
import resource, boto3
boto3.client("dynamodb", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="y")
usage = resource.getrusage(resource.RUSAGE_SELF)
print((usage.ru_utime + usage.ru_stime) * 1e3, usage.ru_maxrss / 1024)
"""


class _Api(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked = threading.Event()
        self.release = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    server: _Api
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_POST(self) -> None:
        """Register."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Lambda-Extension-Identifier", "bench")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def do_GET(self) -> None:
        """Next: note the moment, and hold it."""
        self.server.asked.set()
        self.server.release.wait()


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(int(child) for child in children)]


def _cpu_ms(pid: int) -> float:
    return cpu_ns(pid) / 1e6


def _kilobytes(pid: int, file: str, name: str) -> int:
    for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    return 0


def _modules(store: str) -> set[str]:
    done = subprocess.run(
        [
            sys.executable, "-S", "-c",
            "import sys; sys.path.insert(0, sys.argv[1])\n"
            "import lambdatrace.agent.__main__\n"
            "import lambdatrace.agent.worker, lambdatrace.agent.serving\n"
            "from lambdatrace.agent.writer import open_writer\n"
            "open_writer(sys.argv[2], {'AWS_REGION': 'eu-west-1'})\n"
            "print('\\n'.join(sys.modules))",
            str(REPOSITORY), store,
        ],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return set(done.stdout.split())


def main() -> None:
    """Measure and print."""
    peaks: dict[str, list[float]] = {}

    def agent(label: str, store: str, level: str) -> float:
        api = _Api()
        threading.Thread(target=api.serve_forever, daemon=True).start()
        process = subprocess.Popen(
            agent_command(unpacked_layer()),
            env={
                "PATH": os.environ["PATH"],
                "LAMBDATRACE_PYTHON": sys.executable,
                "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api.server_port}",
                "LAMBDATRACE_STORE": store,
                "LAMBDATRACE_LEVEL": level,
                "AWS_REGION": "eu-west-1",
                "AWS_ACCESS_KEY_ID": "x",
                "AWS_SECRET_ACCESS_KEY": "y",
            },
            stderr=subprocess.DEVNULL,
        )
        api.asked.wait(20)
        pids = _family(process.pid)
        cpu = sum(_cpu_ms(pid) for pid in pids)
        # The worker goes on to import and open what it will write with: that counts as memory.
        time.sleep(SETTLED_S)
        each = [_kilobytes(pid, "status", "VmHWM") / 1024 for pid in pids]
        pss = sum(_kilobytes(pid, "smaps_rollup", "Pss") for pid in pids) / 1024
        peaks.setdefault(f"{label}, larger process (peak)", []).append(max(each))
        peaks.setdefault(f"{label}, both (PSS)", []).append(pss)
        process.kill()
        process.wait()
        api.release.set()
        api.shutdown()
        return cpu

    def boto3() -> float:
        done = subprocess.run(
            [sys.executable, "-c", BOTO3], check=True, capture_output=True, text=True
        )
        cpu, peak = (float(word) for word in done.stdout.split())
        peaks.setdefault("boto3 client alone", []).append(peak)
        return cpu

    with tempfile.TemporaryDirectory() as folder:
        sqlite = f"sqlite://{folder}/bench.db"
        dynamo = "dynamodb://Bench?endpoint=http://127.0.0.1:9"
        found = interleave(
            ROUNDS,
            {
                "agent, sqlite": lambda: agent("agent, sqlite", sqlite, "flows"),
                "agent, dynamodb": lambda: agent("agent, dynamodb", dynamo, "flows"),
                "boto3 client alone": boto3,
            },
        )
        report("CPU from start to `next`", "ms", found, "agent, dynamodb")
        report("Memory", "MB", peaks, "agent, dynamodb, larger process (peak)")
        loaded = _modules(dynamo)
    print(
        "of", ", ".join(FORBIDDEN), "the agent imports:", sorted(loaded & set(FORBIDDEN)) or "none"
    )
    print()


if __name__ == "__main__":
    sys.exit(main())

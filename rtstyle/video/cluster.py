"""A Ray cluster (https://ray.io): connecting to it, and what its machines are."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

from rtstyle.errors import DeviceError, UsageError, install
from rtstyle.runtime import devices
from rtstyle.runtime.session import cores
from rtstyle.video.resume import software

LOCAL = "local"  # an address: a Ray of its own on this machine
CONNECT_SECONDS = 5.0
HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # how a client begins; no settings
SETTINGS = 4  # the kind of frame with which a server begins
MARK = "RTSTYLE_RAY"  # in the environment of all processes of a Ray that was started here
GUARD = """
import os, signal, sys, time
session = sys.stdin.read()  # ends when the process that holds the other end dies
mark = sys.argv[1].encode()
time.sleep(3)  # Ray ends most of its processes itself
last = time.monotonic()

def belongs(pid):  # to the Ray: by its environment, which some replace by their title, or by its open files
    with open(f"/proc/{pid}/environ", "rb") as file:
        if mark in file.read():
            return True
    files = f"/proc/{pid}/fd"
    return bool(session) and any(os.readlink(f"{files}/{n}").startswith(session) for n in os.listdir(files))

while time.monotonic() < last + 4:  # one that was being started was not to be seen
    for pid in filter(str.isdecimal, os.listdir("/proc") if os.path.isdir("/proc") else ()):
        try:
            if int(pid) != os.getpid() and belongs(pid):
                os.kill(int(pid), signal.SIGKILL)
                last = time.monotonic()
        except OSError:
            pass
    time.sleep(0.3)
"""
ANSWER_SECONDS = 60.0  # a machine may have to start Python first


def load_ray() -> Any:
    """The package. Raises RtstyleError if it is missing."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # rtstyle and what it starts report to nobody
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # and Ray does not warn of its own plans
    try:
        import ray
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise DeviceError(f"Ray is not installed; it comes with: {install('farm')}") from None
    return ray


@contextlib.contextmanager
def connected(address: str) -> Iterator[Any]:
    """Ray, connected to the cluster at `address` (HOST:PORT, or auto), or to one of its own (`LOCAL`) that ends with
    the block; where this process is connected already it stays so. Raises RtstyleError."""
    ray = load_ray()
    if ray.is_initialized():
        yield ray
        return
    _check_address(address)
    quiet: dict[str, Any] = {}
    if address == LOCAL:
        quiet = {"include_dashboard": False, "num_cpus": cores()}
        os.environ.setdefault("RAY_task_oom_retries", "3")  # of a segment for which there is not enough memory
    handler = signal.getsignal(signal.SIGTERM)
    guard = _guard() if address == LOCAL else None
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL, **quiet)
    except Exception as error:  # of many kinds: no connection, another version of Ray or Python, no room in /dev/shm
        text = " ".join(str(error).split())[:400]
        if "No node info found" in text:
            text = f"this machine is not one of the cluster's: ray start --address={address} makes it one"
        _dismiss(guard)
        raise DeviceError(f"Ray could not be reached at {address} ({text})") from None
    worker = ray._private.worker
    _tell(guard, worker._global_node.get_session_dir_path())
    loud = getattr(worker, "_worker_logs_enabled", True)
    worker._worker_logs_enabled = False  # what Ray prints of workers that died in spite of log_to_driver
    try:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray sets its own
        yield ray
    finally:
        ray.shutdown()
        worker._worker_logs_enabled = loud
        _dismiss(guard)


def _guard() -> subprocess.Popen[bytes]:
    """A process that waits for this one to die, and ends what its Ray leaves behind then. All that Ray starts inherits
    a mark from this process' environment. Most of it ends by itself, but not where nobody waits for orphans (as process
    1 of many containers): there Ray takes the ended parent for one that still runs."""
    mark = uuid.uuid4().hex
    os.environ.pop(MARK, None)
    guard = subprocess.Popen(
        [sys.executable, "-c", GUARD, f"{MARK}={mark}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.environ[MARK] = mark
    return guard


def _tell(guard: subprocess.Popen[bytes] | None, session: str) -> None:
    """The folder in which all processes of the Ray have files open; the guard reads it when this process has died."""
    if guard and guard.stdin:
        with contextlib.suppress(OSError):  # a guard that is no longer there
            guard.stdin.write(os.path.join(session, "").encode())
            guard.stdin.flush()


def _dismiss(guard: subprocess.Popen[bytes] | None) -> None:
    if guard:
        os.environ.pop(MARK, None)
        guard.kill()
        guard.communicate()


def _check_address(address: str) -> None:
    if address in (LOCAL, "auto"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise UsageError(
            f"invalid address of a Ray cluster {address}: it has the form HOST:PORT, such as 10.0.0.5:6379"
        )
    try:
        connection = socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS)
    except (OSError, OverflowError) as error:
        raise DeviceError(
            f"nothing answers at {address} ({getattr(error, 'strerror', None) or error}): start a cluster there with: "
            "ray start --head"
        ) from None
    with connection:
        if os.environ.get("RAY_USE_TLS", "0") == "0" and not _speaks_http2(connection):
            raise DeviceError(
                f"what answers at {address} is no Ray cluster: its port is the one that ray start --head says (6379 "
                "unless another was given), not that of its dashboard"
            )


def _speaks_http2(connection: socket.socket) -> bool:
    """Whether a server answers as Ray's do; Ray itself would try for more than a minute."""
    begun = time.monotonic()
    answer = b""
    try:
        connection.sendall(HTTP2)
        while len(answer) < 4 and time.monotonic() - begun < CONNECT_SECONDS:
            if not (more := connection.recv(4 - len(answer))):
                break
            answer += more
    except OSError:
        pass
    return len(answer) == 4 and answer[3] == SETTINGS


@dataclasses.dataclass(frozen=True)
class Node:
    """A machine of the cluster: its name (one that tells it from the others), versions of the software, what it has,
    and what is wrong with the device that is asked for."""

    id: str
    name: str
    software: dict[str, str]
    processors: float
    gpus: float
    problem: str | None


def _examine(device: str) -> tuple[dict[str, str], str | None]:
    """Runs on every machine."""
    kind = device.partition(":")[0]
    return software(), None if kind in ("auto", "cpu") else devices.problem_with(kind)


def names(ray: Any) -> dict[str, str]:
    """{machine's number in the cluster: its name, with the number where a host has several}, of all that ever were."""
    found = ray.nodes()
    hosts = Counter(node["NodeManagerHostname"] for node in found)
    return {
        node["NodeID"]: host if hosts[host] == 1 else f"{host}-{node['NodeID'][:6]}"
        for node in found
        for host in (node["NodeManagerHostname"],)
    }


def nodes(ray: Any, device: str = "auto") -> list[Node]:
    """All machines of the cluster, and what keeps them from painting on a device; `auto` looks at GPUs where Ray knows
    of some."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    called, asked = names(ray), []
    examine = ray.remote(_examine)
    for node in (node for node in ray.nodes() if node["Alive"]):
        where = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        kind = "cuda" if device == "auto" and node["Resources"].get("GPU") else device
        asked.append((node, examine.options(num_cpus=0, scheduling_strategy=where).remote(kind)))
    found = []
    for node, task in asked:
        id, resources = node["NodeID"], node["Resources"]
        try:
            versions, problem = ray.get(task, timeout=ANSWER_SECONDS)
        except ray.exceptions.RayError as error:
            if id not in {other["NodeID"] for other in ray.nodes() if other["Alive"]}:
                continue  # it went away meanwhile
            reason = devices.first_sentence(getattr(error, "cause", None) or error)
            versions, problem = {}, f"rtstyle does not answer there ({reason}): is it installed?"
        found.append(Node(id, called[id], versions, resources.get("CPU", 0.0), resources.get("GPU", 0.0), problem))
    return found


def differences(expected: dict[str, str], node: Node) -> list[str]:
    """What is another version there, as in `PyAV 17.0.1 (here 18.0.0)`."""
    if not node.software:
        return []
    return [f"{n} {node.software.get(n)} (here {v})" for n, v in expected.items() if node.software.get(n) != v]

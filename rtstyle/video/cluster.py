"""A Ray cluster (https://ray.io): connecting to it, and what its machines are."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rtstyle.errors import DeviceError, UsageError, install
from rtstyle.runtime import devices
from rtstyle.runtime.session import cores
from rtstyle.video.resume import software

LOCAL = "local"  # an address: a Ray of its own on this machine
CONNECT_SECONDS = 5.0
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
    the block. Raises RtstyleError."""
    ray = load_ray()
    _check_address(address)
    quiet = {"include_dashboard": False, "num_cpus": cores()} if address == LOCAL else {}
    if address == LOCAL:  # after the driver was killed, Ray's agents look so many seconds for what died with it
        os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", "10")
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL, **quiet)
    except Exception as error:  # of many kinds: no connection, another version of Ray or Python, no room in /dev/shm
        raise DeviceError(f"Ray could not be reached at {address} ({devices.first_sentence(error)})") from None
    try:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray sets its own
        yield ray
    finally:
        ray.shutdown()


def _check_address(address: str) -> None:
    if address in (LOCAL, "auto"):
        return
    if Path(address).exists():
        raise UsageError(f"`ray` took {address} for the address of a cluster: write it last, or as --ray={LOCAL}")
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise UsageError(f"{address} is no address of a Ray cluster: it has the form HOST:PORT, such as 10.0.0.5:6379")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise DeviceError(
            f"nothing answers at {address} ({getattr(error, 'strerror', None) or error}): start a cluster there with: "
            "ray start --head"
        ) from None


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


def nodes(ray: Any, device: str = "auto") -> list[Node]:
    """All machines of the cluster that answer."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    alive = [node for node in ray.nodes() if node["Alive"]]
    examine = ray.remote(_examine)
    asked = [
        examine.options(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False))
        for node in alive
    ]
    tasks = [one.remote(device) for one in asked]
    hosts = Counter(node["NodeManagerHostname"] for node in alive)
    found = []
    for node, task in zip(alive, tasks, strict=True):
        try:
            versions, problem = ray.get(task, timeout=ANSWER_SECONDS)
        except ray.exceptions.RayError:
            continue  # it went away meanwhile
        host, resources = node["NodeManagerHostname"], node["Resources"]
        name = host if hosts[host] == 1 else f"{host}-{node['NodeID'][:6]}"
        found.append(
            Node(node["NodeID"], name, versions, resources.get("CPU", 0.0), resources.get("GPU", 0.0), problem)
        )
    return found


def differences(expected: dict[str, str], node: Node) -> list[str]:
    """What is another version there, as in `PyAV 17.0.1 (here 18.0.0)`."""
    return [f"{n} {node.software.get(n)} (here {v})" for n, v in expected.items() if node.software.get(n) != v]

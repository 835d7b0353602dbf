"""A real Ray cluster on this machine; a test module asks for it with `pytest_plugins = ["support.ray_cluster"]`."""

import os
import signal
import subprocess

import pytest


@pytest.fixture(scope="module")
def ray_cluster():
    """Two machines of one processor core each, both of them processes here; `address` is theirs."""
    from rtstyle.video.cluster import load_ray

    load_ray()
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


def workers():
    """The processes that are painting a segment now."""
    found = subprocess.run(["pgrep", "-f", "^ray::_paint"], capture_output=True, text=True, check=False).stdout
    return [int(pid) for pid in found.split()]


def kill(pids):
    """SIGKILL; how many were still there."""
    killed = 0
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
            killed += 1
        except ProcessLookupError:
            pass
    return killed


def with_mark(mark):
    """Processes that have this in their environment, other than this one."""
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                if mark.encode() in file.read() and int(pid) != os.getpid():
                    found.append(int(pid))
        except OSError:
            continue
    return found

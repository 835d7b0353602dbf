"""A real Ray cluster on this machine; a test module asks for it with `pytest_plugins = ["support.ray_cluster"]`."""

import contextlib
import os
import re
import signal
import subprocess
from fractions import Fraction

import numpy as np
import pytest

from support.media_files import make_clip, picture

FRAMES = 64
SEGMENT = 10


def with_a_cut(index, height, width):
    """Another scene from frame 27 on, in the middle of a segment."""
    scene = picture(index, height, width)
    return scene if index < 27 else np.ascontiguousarray(255 - scene[:, ::-1])


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A clip of variable rate with a cut and two tracks of sound."""
    stamps = [40 * i + 9 * (i % 3) for i in range(FRAMES)]
    folder = tmp_path_factory.mktemp("farm")
    return make_clip(
        folder / "in.mkv", pts=stamps, time_base=Fraction(1, 1000), tracks=2, b_frames=2, draw=with_a_cut, key_every=15
    )


@pytest.fixture(scope="module")
def ray_cluster():
    """Two machines of one processor core each, both of them processes here; `address` is theirs. A connection stays
    open, so that the jobs of a module share their workers, each of which takes seconds to start. Ray asks a machine
    five times whether it is there before it gives it up: every 3 s would be a long wait."""
    from rtstyle.video.cluster import connected, load_ray

    load_ray()
    from ray.cluster_utils import Cluster

    often = {"health_check_period_ms": 300}
    head = {"num_cpus": 1, "include_dashboard": False, "_system_config": often}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.add_node(num_cpus=1)
    with connected(cluster.address):
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


# What process 1 of many containers is: orphans are its children, and it waits for none of them. Prints a child's pid.
NO_REAPER = """
import ctypes, subprocess, sys, time
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
print(subprocess.Popen(sys.argv[1:]).pid, flush=True)
time.sleep(600)
"""


def sessions(pid):
    """The folders of a Ray's session in which a process has files open."""
    names = []
    with contextlib.suppress(OSError):
        for number in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                names.append(os.readlink(f"/proc/{pid}/fd/{number}"))
    return {found[0] for name in names if (found := re.match(r"/.*/session_[^/]+(?=/)", name))}


def belonging(mark, session):
    """Processes that have `mark` in their environment, or files of the session open."""
    found = set()
    for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:
            if mark.encode() in file.read() or session in sessions(pid):
                found.add(pid)
    return found

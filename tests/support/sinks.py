"""What the tests of the recorder and of the virtual camera share."""

import threading

import numpy as np
import pytest

from support.helpers import wait_until


@pytest.fixture(autouse=True)
def no_thread_survives():
    """Imported by a test module, it holds for all tests there."""
    yield
    wait_until(lambda: not {"recorder", "virtual camera"} & {thread.name for thread in threading.enumerate()})


def color_card(rgb, height=24, width=32):
    """A frame of one colour."""
    return np.full((height, width, 3), rgb, np.uint8)

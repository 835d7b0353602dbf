"""The errors that people meet: each a sentence that says what is wrong and what to do.

Where an argument helps, the sentence has it in backquotes, as it is called in Python: `work_height`, `force=True`. The
command line puts its flags there.
"""


def install(extra: str) -> str:
    """The remedy where the packages of an extra (`train`, `cuda`, `openvino`, `webgpu`, `virtual-cam`) are missing."""
    return f"pip install '.[{extra}]' in rtstyle's folder"


class RtstyleError(Exception):
    """Raised for anything a user can put right.

    The command line prints it as one line and exits with `exit_code`: 1, or 2 for wrong usage.
    """

    exit_code = 1


class InputError(RtstyleError):
    """What should be read is missing, damaged, too small or of the wrong kind."""


class OutputError(RtstyleError):
    """What should be written cannot be, or would replace something."""


class DeviceError(RtstyleError):
    """A GPU, a camera, a display or a driver is not there, is taken, or fails."""


class ModelError(RtstyleError):
    """A model or a file of weights is missing, damaged, or not of the kind that is needed."""


class UsageError(RtstyleError):
    """An argument that can never work, whatever the machine: an unknown style, a strength out of range."""

    exit_code = 2


class Interrupted(RtstyleError):
    """The user stopped a long run; the message says what was kept and where."""

    exit_code = 130

"""The one error that people meet: a sentence that says what is wrong and what to do."""

INSTALL_TRAINING = "pip install '.[train]' in rtstyle's folder"  # the remedy where training's packages are missing


class RtstyleError(Exception):
    """Raised for anything a user can put right: bad input, a missing file, a device that is not there.

    The command line prints it as one line and exits with `exit_code`: 1, or 2 for wrong usage.
    """

    exit_code = 1


class Interrupted(RtstyleError):
    """The user stopped a long run; the message says what was kept and where."""

    exit_code = 130


class UsageError(RtstyleError):
    """An argument that can never work, whatever the machine: an unknown style, a strength out of range."""

    exit_code = 2

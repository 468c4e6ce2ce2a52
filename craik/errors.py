"""Errors that are for people: what was expected, what came, what to do next.

The command line prints them without a traceback and exits with `exit_code`.
"""


class CraikError(Exception):
    """The run failed for a reason the user can read."""

    exit_code = 1


class UsageError(CraikError):
    """A command, an option, a file or a data set is not what it has to be."""

    exit_code = 2

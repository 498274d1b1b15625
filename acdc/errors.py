"""The one exception that a user is meant to read."""


class InputError(Exception):
    """What the user gave cannot be used: one sentence that names the file, row or option and says what would work.

    The command line prints it on stderr and exits with code 2; a caller of the Python interface may catch it.
    """

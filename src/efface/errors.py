"""The one error that a user is meant to read."""


class EffaceError(ValueError):
    """A clear line: what was found, what was expected, what to do. The command line prints it and exits with 2."""

"""The one error that a user is meant to read."""


class EffaceError(ValueError):
    """A clear line: what was found, what was expected, what to do. The command line prints it and exits with 2."""


def line_of(error: Exception) -> str:
    """Another's error in one line of at most 160 characters."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]

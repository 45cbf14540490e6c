"""Which errors does a person see? One sentence each: what was wrong, where, what to do."""

EXIT_CODES = {
    0: "done",
    1: "a bug",
    2: "a wrong flag, setting, input or unknown run",
    3: "the API server, or Tekton on it, is not there",
    4: "a right is missing",
    5: "the backend cannot be reached or refuses",
    6: "some spans were rejected",
    130: "interrupted",
}
"""What a process says when it ends."""


class TracerError(Exception):
    """The root of our own errors. Its text is one sentence for a person."""

    exit_code = 1


class InputError(TracerError):
    """A flag, a setting, a file or a name that cannot be used."""

    exit_code = 2


class ApiError(TracerError):
    """The API server, or Tekton's kinds on it, are not there."""

    exit_code = 3


class RightsError(TracerError):
    """What is needed may not be read: a right is missing, or the API server does not know who asks."""

    exit_code = 4


class BackendError(TracerError):
    """The backend cannot be reached, or refuses."""

    exit_code = 5

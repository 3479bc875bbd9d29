"""Whatever FFmpeg and PyAV raise on broken media is one error of ours."""

from __future__ import annotations

import errno

import av.error
import pytest

from transcription.errors import InvalidMediaError, TaskCancelledError
from transcription.media.opening import media_errors

SECRET = "/srv/spool/17/source"


@pytest.mark.parametrize(
    "error",
    [
        av.error.InvalidDataError(1, "Invalid data", SECRET),
        av.error.EOFError(1, "End of file", SECRET),
        av.error.PermissionError(errno.EPERM, "Not permitted", SECRET),
        av.error.UndefinedError(1, "?", SECRET),
        EOFError(SECRET),
        ValueError(SECRET),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, SECRET),
        IndexError(SECRET),
        OSError(errno.EIO, "Input/output error", SECRET),
        PermissionError(errno.EACCES, "Permission denied", SECRET),
    ],
    ids=lambda error: f"{type(error).__module__}.{type(error).__name__}",
)
def test_errors_of_media_become_ours(error: Exception) -> None:
    with pytest.raises(InvalidMediaError) as caught, media_errors("It is broken."):
        raise error

    assert caught.value.message == "It is broken."
    assert caught.value.__cause__ is error


def test_a_time_out_says_so() -> None:
    with (
        pytest.raises(InvalidMediaError, match="took too long"),
        media_errors("It is broken."),
    ):
        raise av.error.ExitError(1, "Immediate exit requested", SECRET)


@pytest.mark.parametrize(
    "error",
    [
        av.error.MemoryError(errno.ENOMEM, "Cannot allocate memory", SECRET),
        MemoryError(),
    ],
)
def test_too_little_memory_says_so(error: Exception) -> None:
    with (
        pytest.raises(InvalidMediaError, match="more memory"),
        media_errors("It is broken."),
    ):
        raise error


@pytest.mark.parametrize("kind", [TaskCancelledError, KeyError, ZeroDivisionError])
def test_other_errors_pass(kind: type[Exception]) -> None:
    with pytest.raises(kind), media_errors("It is broken."):
        raise kind("not the media")

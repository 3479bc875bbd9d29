"""What a worker and its decoder process say to each other, pickled, over a socket."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from transcription.media.facts import DecodedAudio, TrackChoice
from transcription.media.limits import Limits
from transcription.media.types import AllowedTypes

# The first message of a process, when it takes jobs.
READY = b"ready"


@dataclass(frozen=True)
class DecodeJob:
    """One file to decode.

    Attributes:
        path: chosen by the server.
        destination: the samples file to write.
        max_seconds: of audio.
        choice: the track that is wanted; None: the one that players take.
        limits: what it may cost.
        allowed: the types of content that are accepted.
    """

    path: Path
    destination: Path
    max_seconds: float
    choice: TrackChoice | None
    limits: Limits
    allowed: AllowedTypes


@dataclass(frozen=True)
class Refusal:
    """Why there are no samples: the name of an error's class, and its sentence."""

    error: str
    message: str


@dataclass(frozen=True)
class StorageFailure:
    """The samples could not be written, or the file not be read."""

    errno: int
    reason: str


Outcome = DecodedAudio | Refusal | StorageFailure


@dataclass(frozen=True)
class Answer:
    """What a process sends when a job has ended.

    Attributes:
        outcome: of the job.
        goes_on: whether the process takes another one; otherwise it ends.
    """

    outcome: Outcome
    goes_on: bool

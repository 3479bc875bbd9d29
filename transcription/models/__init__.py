"""The rows of the product; fields, constraints and what one row alone tells."""

from __future__ import annotations

from transcription.models.callback import Callback, CallbackAttempt, CallbackSecret
from transcription.models.fleet import DispatcherTick, WorkerSlot
from transcription.models.idempotency import IdempotencyKey
from transcription.models.leased import Leased
from transcription.models.task import OwnerInLane, TranscriptionTask
from transcription.models.transcript import Transcript, TranscriptPart

__all__ = [
    "Callback",
    "CallbackAttempt",
    "CallbackSecret",
    "DispatcherTick",
    "IdempotencyKey",
    "Leased",
    "OwnerInLane",
    "Transcript",
    "TranscriptPart",
    "TranscriptionTask",
    "WorkerSlot",
]

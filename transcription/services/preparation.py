"""A task's media, fetched if it is a link, becomes samples (media workers)."""

from __future__ import annotations

import logging
import time
from functools import partial

from django.conf import settings

from transcription.engines.languages import language_code
from transcription.errors import (
    LeaseLostError,
    TaskCancelledError,
    WhisperHubError,
)
from transcription.media.decode import DecodedAudio, decode_to_samples
from transcription.media.tracks import TrackChoice
from transcription.models import TranscriptionTask
from transcription.services import hints, retention, reuse, transitions, turns
from transcription.services.database import persistently
from transcription.services.fetching import fetch
from transcription.services.leases import HeldLease, heartbeat
from transcription.services.transitions import Lease, Outcome, Served
from transcription.storage import TaskFolder
from whisperhub.request_id import current_request_id
from whisperhub.sentences import Sentence

logger = logging.getLogger(__name__)


def prepare(lane: str, *, owner: str) -> Served | None:
    """Prepare the task of a lane whose turn it is, and queue it for inference.

    Returns:
        What became of it; None if there was nothing to claim.
    """
    while chosen := persistently(lambda: turns.first_in(lane)):
        lease = persistently(
            partial(
                transitions.claim_preparation,
                chosen.task_id,
                owner=owner,
                only_if=chosen.still_first,
            )
        )
        if lease:
            return _prepare_claimed(lease)
        # Somebody else was first, and it is the turn of another task.
    return None


def _prepare_claimed(lease: Lease) -> Served | None:
    task = persistently(TranscriptionTask.objects.filter(pk=lease.task_id).first)
    if task is None:
        return None  # Deleted a moment ago.
    current_request_id.set(task.request_id)
    with heartbeat.hold(lease) as held:
        try:
            outcome = _prepare_held(task, held)
        except LeaseLostError:
            logger.warning("Task %s: lease lost in preparation", task.public_id)
            return Served(task.public_id, Outcome.LOST)
    if outcome is Outcome.QUEUED:
        hints.send_hint(task.pk)
    elif outcome is not Outcome.RETRIED:
        retention.conclude(task, outcome)
    return Served(task.public_id, outcome)


def _prepare_held(task: TranscriptionTask, held: HeldLease) -> Outcome:
    began = time.perf_counter()
    lease = held.lease
    try:
        if task.source == TranscriptionTask.Source.LINK:
            fetch(task, held)
        if task.reuse and (outcome := reuse.answer(task, held)):
            return outcome
        decoded = decode(task, held)
    except LeaseLostError:
        raise
    except TaskCancelledError:
        held.check_lost()
        return persistently(lambda: transitions.finish_cancelled(lease))
    except WhisperHubError as error:
        code, message = error.code, error.message
        wait = error.retry_after_seconds
        logger.info("Task %s: no media, %s", task.public_id, code)
        if not error.retryable:
            return persistently(
                lambda: transitions.fail(lease, code=code, message=message)
            )
        return persistently(
            lambda: transitions.retry_or_fail(
                lease, code=code, message=message, at_least_seconds=wait
            )
        )
    except OSError as error:
        logger.warning("Task %s: storage failed, %s", task.public_id, error.strerror)
        return persistently(
            lambda: transitions.retry_or_fail(
                lease,
                code="storage_error",
                message=Sentence("The server could not read or store the media."),
            )
        )
    outcome = persistently(lambda: transitions.finish_preparation(lease, decoded))
    logger.info(
        "Task %s: %.1f s of audio prepared in %.2f s",
        task.public_id,
        decoded.duration_seconds,
        time.perf_counter() - began,
    )
    return outcome


def wanted_track(text: str) -> TrackChoice | None:
    """What the option `audio_track` means: an index or a language; empty: neither."""
    if not text:
        return None
    if text.isdecimal():
        return TrackChoice(text, index=int(text))
    return TrackChoice(text, speaks=lambda tag: language_code(tag) == text)


def decode(task: TranscriptionTask, held: HeldLease) -> DecodedAudio:
    """Decode the original of a task to samples beside it."""
    folder = TaskFolder(task.public_id)
    # Media that are gone are the storage's fault: `open_media` would blame the client.
    folder.original.stat()
    return decode_to_samples(
        folder.original,
        folder.samples,
        max_seconds=settings.MAX_MEDIA_SECONDS,
        choice=wanted_track(task.options.get("audio_track", "")),
        should_stop=held.should_stop,
    )

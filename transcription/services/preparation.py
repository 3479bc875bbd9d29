"""A task's media, fetched if it is a link, becomes samples (media workers)."""

from __future__ import annotations

import atexit
import logging
import time
from functools import partial
from typing import Final

from django.conf import settings
from django.db.models import Sum

from transcription import storage
from transcription.database import despite_outages
from transcription.engines.languages import is_language
from transcription.errors import (
    DecoderLostError,
    LeaseLostError,
    NoRoomError,
    TaskCancelledError,
    WhisperHubError,
)
from transcription.media.decoder import Decoder
from transcription.media.facts import DecodedAudio, TrackChoice
from transcription.media.limits import Limits
from transcription.models import TranscriptionTask
from transcription.services import places, retention, reuse, turns
from transcription.services.fetching import fetch
from transcription.services.held_tasks import TASKS
from transcription.services.hint_outcome import HintOutcome
from transcription.services.transitions import (
    cancelling,
    claims,
    completion,
    failure,
    lost_workers,
    release,
)
from transcription.services.transitions.changes import Outcome
from transcription.storage import original_of, samples_of
from transcription.work.heartbeat import HeldLease, heartbeat
from transcription.work.kinds import Lease
from whisperhub.sentences import Sentence
from whisperhub.web.request_id import current_request_id

logger = logging.getLogger(__name__)

# A task whose owner's other samples take the room looks again after this time.
NO_ROOM_SECONDS: Final = 60.0
# Another owner's task may wait so long for the place that is kept for it.
PASSED_OVER_SECONDS: Final = 0.25

decoder = Decoder()
# Its processes would end with this one; nothing is to warn of them.
atexit.register(decoder.close)


def prepare(lane: str, *, owner: str) -> HintOutcome | None:
    """Prepare the task of a lane whose turn it is, and queue it for inference.

    Returns:
        What became of it; None if there was nothing to claim.
    """
    while True:
        with places.choosing():
            at_limit = places.owner_at_limit(owner)
            chosen = turns.first_in(lane, passing_over=at_limit)
            lease = chosen and claims.claim_preparation(
                chosen.task_id, owner=owner, only_if=chosen.still_first
            )
        if lease:
            return _prepare_claimed(lease)
        if not chosen:
            break
        # Somebody else was first, and it is the turn of another task.
    if at_limit is not None:
        _give_hint_back(lane)
    return None


def _give_hint_back(lane: str) -> None:
    """Leave a hint to a process that may take the tasks which were passed over.

    It is sent before the pause: a sibling whose job ends takes it at once. The pause
    keeps this process, for which there is nothing else to do, from asking all the time.
    """
    passed_over = turns.first_in(lane)
    if passed_over is None:
        return
    task = TranscriptionTask.objects.filter(pk=passed_over.task_id).first()
    if task is not None:
        TASKS.send_marked(task)
    time.sleep(PASSED_OVER_SECONDS)


def _prepare_claimed(lease: Lease) -> HintOutcome | None:
    task = TASKS.read(lease.row_id)
    if task is None:
        return None  # Deleted a moment ago.
    current_request_id.set(task.request_id)
    with heartbeat.hold(lease) as held:
        try:
            outcome = _prepare_held(task, held)
        except LeaseLostError:
            logger.warning("Task %s: lease lost in preparation", task.public_id)
            return HintOutcome(task.public_id, Outcome.LOST)
    if outcome is Outcome.QUEUED:
        TASKS.send_hint(task.pk)
    elif outcome is not Outcome.RETRIED:
        retention.conclude(task, outcome)
    return HintOutcome(task.public_id, outcome)


def _prepare_held(task: TranscriptionTask, held: HeldLease) -> Outcome:
    began = time.perf_counter()
    try:
        # Of a process that was killed.
        storage.current().discard_unfinished(task.public_id)
        if task.source == TranscriptionTask.Source.LINK:
            fetch(task, held)
        if task.reuse and (outcome := reuse.answer(task, held)):
            return outcome
        decoded = decode(task, held)
        taken = storage.current().occupied_bytes(samples_of(task.public_id))
    except LeaseLostError:
        raise
    except TaskCancelledError:
        held.check_lost()
        return held.apply(cancelling.finish_cancelled)
    except DecoderLostError:
        # Whoever stops the job ends its process.
        if held.should_stop():
            held.check_lost()
            return held.apply(cancelling.finish_cancelled)
        logger.warning("Task %s: its decoder process was ended", task.public_id)
        return _count_loss(held)
    except NoRoomError as error:
        return _wait_for_room(task, held, error)
    except WhisperHubError as error:
        code, message = error.code, error.message
        wait = error.retry_after_seconds
        logger.info("Task %s: no media, %s", task.public_id, code)
        if not error.retryable:
            return held.apply(failure.fail, code=code, message=message)
        return held.apply(
            failure.retry_or_fail,
            code=code,
            message=message,
            at_least_seconds=wait,
        )
    except OSError as error:
        logger.warning("Task %s: storage failed, %s", task.public_id, error.strerror)
        return held.apply(
            failure.retry_or_fail,
            code="storage_error",
            message=Sentence("The server could not read or store the media."),
        )
    outcome = held.apply(completion.finish_preparation, decoded, samples_bytes=taken)
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
    return TrackChoice(text, speaks=partial(is_language, code=text))


def decode(task: TranscriptionTask, held: HeldLease) -> DecodedAudio:
    """Decode the original of a task, and keep its samples.

    Raises:
        MediaError: the original is at fault.
        NoRoomError: there is no room for the samples.
        DecoderLostError: the process that decodes was ended from outside.
        OSError: the storage is at fault, or has lost the original.
    """
    files = storage.current()
    samples = samples_of(task.public_id)
    with (
        files.local_path(original_of(task.public_id)) as original,
        files.scratch(samples) as destination,
    ):
        decoded = decoder.decode(
            original,
            destination,
            max_seconds=settings.MAX_MEDIA_SECONDS,
            choice=wanted_track(task.options.get("audio_track", "")),
            limits=Limits(
                memory_bytes=settings.DECODER_MEMORY_BYTES,
                cpu_seconds=settings.DECODER_CPU_SECONDS,
                cpu_seconds_per_minute=settings.DECODER_CPU_SECONDS_PER_MINUTE,
                reserve_bytes=settings.MIN_FREE_BYTES,
                held_bytes=samples_bytes_of(task.owner_id),
                owner_share=settings.OWNER_ROOM_SHARE,
            ),
            allowed=settings.ALLOWED_TYPES,
            on_start=held.on_stop,
        )
        files.keep(samples, destination)
    return decoded


@despite_outages
def samples_bytes_of(owner_id: int) -> int:
    """What the samples of an owner's tasks take on the media volume."""
    held = TranscriptionTask.objects.filter(owner_id=owner_id, samples_bytes__gt=0)
    return held.aggregate(total=Sum("samples_bytes"))["total"] or 0


def _count_loss(held: HeldLease) -> Outcome:
    """Put a task back whose decoder process was ended from outside."""
    outcome = held.apply(lost_workers.count_loss)
    if outcome is None:
        raise held.lease.lost_error()
    return outcome


def _wait_for_room(
    task: TranscriptionTask, held: HeldLease, error: NoRoomError
) -> Outcome:
    """Have a task wait for the end of its owner's others, if they take the room."""
    code, message = error.code, error.message
    if samples_bytes_of(task.owner_id):
        logger.info("Task %s: waits for room", task.public_id)
        return held.apply(
            release.postpone, code=code, message=message, seconds=NO_ROOM_SECONDS
        )
    return held.apply(failure.retry_or_fail, code=code, message=message)

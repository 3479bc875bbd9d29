"""Prepared samples become a stored transcript (inference workers)."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Final

from django.db import InterfaceError, OperationalError
from django.db.models import Q

from transcription import storage
from transcription.audio import SAMPLE_RATE
from transcription.database import will_pass
from transcription.engines.abilities import check_abilities
from transcription.engines.base import (
    Engine,
    LanguageDetection,
    Segment,
    Transcription,
)
from transcription.engines.options import OPTION_NAMES, DecodeOptions
from transcription.errors import (
    EngineError,
    LeaseLostError,
    TaskCancelledError,
    UnsupportedOptionError,
    WhisperHubError,
)
from transcription.models import TranscriptionTask
from transcription.notices import Notice, NoticeCode
from transcription.samples import Samples, load_samples
from transcription.services import retention, spool, turns
from transcription.services.admission import admission
from transcription.services.held_tasks import TASKS
from transcription.services.hint_outcome import HintOutcome
from transcription.services.progress import ProgressWriter
from transcription.services.transitions import (
    cancelling,
    claims,
    completion,
    failure,
    lost_workers,
    recording,
)
from transcription.services.transitions.changes import Outcome
from transcription.services.turns import Chosen
from transcription.storage import samples_of
from transcription.work.heartbeat import HeldLease, heartbeat
from transcription.work.kinds import Lease
from whisperhub.queues import PRIORITIES
from whisperhub.sentences import Sentence
from whisperhub.web.request_id import current_request_id

logger = logging.getLogger(__name__)

NO_SPEECH: Final = Notice(
    NoticeCode.NO_SPEECH,
    Sentence(
        "No speech was found in the recording. If there is some, try a lower "
        "vad_parameters.threshold, or vad_filter=false."
    ),
)
# Shorter recordings hold no word; a window costs the model 30 s of work all the same.
MIN_SECONDS = 0.2
MIN_SAMPLES = round(MIN_SECONDS * SAMPLE_RATE)


class JobReporter:
    """The job as its engine sees it: hears of progress, says when to stop.

    Segments and progress go to the row now and then, together; the rest comes with the
    result.
    """

    def __init__(self, task: TranscriptionTask, held: HeldLease) -> None:
        """Report for one job that holds its lease."""
        self.priority = PRIORITIES.index(task.effective_priority)
        self.owner_id: int | None = task.owner_id
        self.held = held
        self.duration_seconds = task.media_duration_seconds or 0.0
        self._unwritten: list[Segment] = []
        self._part = 0
        self._progress = ProgressWriter(at_once=False)

    def check(self) -> None:
        """Raise if the job is to stop."""
        self.held.check()

    def on_stop(self, callback: Callable[[], None]) -> None:
        """Have something called as soon as the job is to stop."""
        self.held.on_stop(callback)

    def segments(self, segments: list[Segment]) -> None:
        """Keep segments for the next write."""
        self._unwritten.extend(segments)

    def __call__(self, seconds_done: float) -> None:
        """Note how far the engine is; raises if the job is to stop."""
        self.check()
        if self.duration_seconds:
            share = seconds_done / self.duration_seconds
            # What is not written now is written with a later report.
            self._progress.write(lambda: self._write(share))

    def _write(self, share: float) -> None:
        segments = self._unwritten
        recording.record_progress(
            self.held.lease, share, part=self._part, segments=segments
        )
        self._unwritten = []
        self._part += bool(segments)


def execute(lane: str, *, engine: Engine, owner: str) -> HintOutcome | None:
    """Run the task of a lane whose turn it is on the engine of this process.

    Returns:
        What became of it; None if there was nothing to claim.
    """
    while chosen := turns.first_in(lane):
        with _admitted(chosen) as claimable:
            lease = claimable is not None and claims.claim_inference(
                chosen.task_id, owner=owner, only_if=claimable
            )
            if lease:
                return _execute_claimed(lease, engine)
        # Somebody else was first, and it is the turn of another task.
    return None


@contextmanager
def _admitted(chosen: Chosen) -> Iterator[Q | None]:
    """Wait until this process may run a task; a suspect runs alone.

    Until the process is empty a suspect is set aside. Otherwise every thread of every
    process that came to its lane would choose it, and they all would wait for it.

    Yields:
        What must be true of the task to be claimed; None if it is gone.
    """
    if chosen.losses < lost_workers.LOSSES_FORGIVEN:
        with admission.enter():
            yield chosen.still_first
        return

    if not claims.set_aside(chosen.task_id, only_if=chosen.still_first):
        yield None
        return
    stay_aside = partial(claims.set_aside, chosen.task_id, only_if=chosen.still_aside)
    with admission.enter_alone(stay_aside) as entered:
        yield chosen.still_aside if entered else None


def _execute_claimed(lease: Lease, engine: Engine) -> HintOutcome | None:
    task = TASKS.read(lease.row_id)
    if task is None:
        return None  # Deleted a moment ago.
    current_request_id.set(task.request_id)
    with heartbeat.hold(lease) as held:
        try:
            outcome = _execute_held(task, held, engine)
        except LeaseLostError:
            logger.warning("Task %s: lease lost, its result dropped", task.public_id)
            return HintOutcome(task.public_id, Outcome.LOST)
    if outcome is not Outcome.RETRIED:
        retention.conclude(task, outcome)
    return HintOutcome(task.public_id, outcome)


def _execute_held(task: TranscriptionTask, held: HeldLease, engine: Engine) -> Outcome:
    if kept := spool.find(task, engine.info):
        logger.info("Task %s: was decoded before, its result is kept", task.public_id)
        return _store(task, held, kept)
    began = time.perf_counter()
    try:
        with _samples_of(task) as samples:
            transcription = _transcribe(task, samples, held, engine)
    except TaskCancelledError:
        held.check_lost()
        return held.apply(cancelling.finish_cancelled)
    except WhisperHubError as error:
        settle = failure.retry_or_fail if error.retryable else failure.fail
        code, message = error.code, error.message
        logger.warning("Task %s: %s, %s", task.public_id, code, message)
        return held.apply(settle, code=code, message=message)
    seconds = time.perf_counter() - began
    logger.info(
        "Task %s: %.1f s of audio in %.2f s",
        task.public_id,
        transcription.duration_seconds,
        seconds,
    )
    return _store(task, held, spool.Result(transcription, engine.info, seconds))


def _store(task: TranscriptionTask, held: HeldLease, result: spool.Result) -> Outcome:
    """Store a result, however long the database is away.

    Nothing else could be done meanwhile: whoever wants to claim a task waits for the
    same database. A process that is ended before leaves the result in a file.

    Raises:
        LeaseLostError: the lease is no longer ours.
    """

    def complete(lease: Lease) -> Outcome:
        completion.complete(
            lease,
            result.transcription,
            model=result.model,
            inference_seconds=result.inference_seconds,
        )
        return Outcome.COMPLETED

    try:
        return complete(held.lease)
    except (OperationalError, InterfaceError) as error:
        if not will_pass(error):
            raise
        spool.keep(task, result)
    return held.apply_within(math.inf, complete)


@contextmanager
def _samples_of(task: TranscriptionTask) -> Iterator[Samples]:
    """The decoded audio of a task, mapped into memory for the body alone.

    Raises:
        EngineError: it cannot be read.
    """
    with ExitStack() as stack:
        try:
            path = stack.enter_context(
                storage.current().local_path(samples_of(task.public_id))
            )
            samples = load_samples(path)
        except OSError as error:
            raise EngineError(
                Sentence("The prepared audio of the task cannot be read.")
            ) from error
        yield samples


def _transcribe(
    task: TranscriptionTask, samples: Samples, held: HeldLease, engine: Engine
) -> Transcription:
    try:
        options = DecodeOptions.from_dict(
            {**task.options, "language": task.language, "task": task.task_type}
        )
    except TypeError as error:
        # Submitted to another release: no attempt of this one would go better.
        names = sorted(set(task.options) - OPTION_NAMES) or ["vad_parameters"]
        raise UnsupportedOptionError(task.engine, names) from error
    # Nobody could tell when it was submitted, if no slot had loaded the model before.
    check_abilities(
        engine.info.name,
        engine.info.languages,
        language=options.language,
        task=options.task,
        multilingual=options.multilingual,
    )
    if len(samples) < MIN_SAMPLES:
        return _too_short(task, len(samples))
    reporter = JobReporter(task, held)
    try:
        if task.task_type == TranscriptionTask.TaskType.DETECT_LANGUAGE:
            detected = engine.detect_language(samples, reporter)
            return _without_text(detected, len(samples))
        heard = engine.transcribe(samples, options, reporter)
        return heard if heard.text else _without_words(heard, options.language)
    except WhisperHubError:
        raise
    except Exception as error:
        # An engine may raise anything; the edge between it and the queue is here.
        logger.exception("Task %s: the engine raised", task.public_id)
        raise EngineError(
            Sentence(
                "The engine failed on this audio ({reason}).",
                reason=type(error).__name__,
            )
        ) from error


def _too_short(task: TranscriptionTask, n_samples: int) -> Transcription:
    """A result without text: the model would need 30 s of work to find no word."""
    return Transcription(
        text="",
        language=task.language,
        language_probability=None,
        duration_seconds=n_samples / SAMPLE_RATE,
        duration_after_vad_seconds=None,
        segments=[],
        notices=[
            Notice(
                NoticeCode.AUDIO_TOO_SHORT,
                Sentence(
                    "The recording is shorter than {least} s, too short for a word. It "
                    "was not given to the model.",
                    least=MIN_SECONDS,
                ),
                {"seconds": round(n_samples / SAMPLE_RATE, 3), "least": MIN_SECONDS},
            )
        ],
    )


def _without_text(detected: LanguageDetection, n_samples: int) -> Transcription:
    """A detected language as a result like any other."""
    notices = list(detected.notices)
    if detected.language is None:
        notices.append(NO_SPEECH)
    return Transcription(
        text="",
        language=detected.language,
        language_probability=detected.probability,
        language_probabilities=detected.probabilities,
        duration_seconds=n_samples / SAMPLE_RATE,
        duration_after_vad_seconds=None,
        segments=[],
        notices=notices,
    )


def _without_words(heard: Transcription, asked: str) -> Transcription:
    """A result without a word, which has no language but the one asked for."""
    return replace(
        heard,
        language=asked or None,
        language_probability=None,
        language_probabilities={},
        notices=[*heard.notices, NO_SPEECH],
    )

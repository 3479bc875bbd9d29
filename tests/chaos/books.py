"""Checks, after all the harm, that nothing was lost and nothing happened twice."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.db.models.functions import Now

from tests.chaos import moves
from tests.chaos.load import FAILURES, Order, Sent
from tests.chaos.monkey import Monkey
from tests.chaos.receiver import MoodyReceiver
from transcription.models import Transcript, TranscriptionTask, TranscriptPart
from transcription.services import retention
from transcription.services.transitions.lost_workers import LOSSES_FORGIVEN

Status = TranscriptionTask.Status

DAY_SECONDS: Final = 24 * 3600.0


@dataclass
class Balance:
    """What the books say at the end.

    Attributes:
        unlucky: good recordings that failed since too many workers died with them, as
            the log of deeds confirms.
        swept: files that only the sweep for leftovers of crashes deleted.
        faults: everything that must not be, in words.
    """

    counts: Counter[str]
    lost: int = 0
    doubled: int = 0
    callbacks_missing: int = 0
    unlucky: int = 0
    swept: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def is_even(self) -> bool:
        """Whether all is as it must be."""
        return not (self.lost or self.doubled or self.callbacks_missing or self.faults)

    def line(self) -> str:
        """The one line that a run ends with."""
        return (
            f"chaos: accepted={self.counts.total()} "
            f"completed={self.counts[Status.COMPLETED]} "
            f"failed={self.counts[Status.FAILED]} "
            f"cancelled={self.counts[Status.CANCELLED]} "
            f"lost={self.lost} doubled={self.doubled} "
            f"callbacks_missing={self.callbacks_missing}"
        )


class Books:
    """Every request that was sent, against every row and file that is there.

    Args:
        texts: what an undisturbed run heard in each kind of recording.
    """

    def __init__(
        self,
        sent: Sequence[Sent],
        *,
        texts: Mapping[str, str],
        monkey: Monkey,
        receiver: MoodyReceiver,
    ) -> None:
        self._sent = sent
        self._texts = texts
        self._monkey = monkey
        self._receiver = receiver
        self._rows: dict[str, TranscriptionTask] = {
            str(row.public_id): row
            for row in TranscriptionTask.objects.filter(file_name__startswith="chaos-")
        }
        self._orders = {sent.order.file_name: sent.order for sent in sent}
        self._balance = Balance(Counter(row.status for row in self._rows.values()))

    def balance(self) -> Balance:
        """Look at everything."""
        self._check_answers()
        self._check_moves()
        for row in self._rows.values():
            self._check_row(row, self._orders[row.file_name])
        self._check_leftovers()
        return self._balance

    def _fault(self, words: str) -> None:
        self._balance.faults.append(words)

    def _check_answers(self) -> None:
        """What was accepted is there, once; and no request met an error of ours."""
        for sent in self._sent:
            if sent.task_id and sent.task_id not in self._rows:
                self._balance.lost += 1
                self._fault(f"Task {sent.task_id} was accepted and is gone.")
            # 503: the database was away; 0: the web process was.
            if sent.status_code not in (201, 503, 0):
                name = sent.order.file_name
                self._fault(f"{name} was answered with {sent.status_code}.")
        copies = Counter(row.file_name for row in self._rows.values())
        for name, number in copies.items():
            if number > 1:
                self._balance.doubled += 1
                self._fault(f"{name} was sent once and became {number} tasks.")

    def _check_moves(self) -> None:
        """Each task came to one end, once."""
        keys = {row.pk: public_id for public_id, row in self._rows.items()}
        for task_id, steps in moves.doubled("default").items():
            if task_id in keys:
                self._balance.doubled += 1
                self._fault(f"Task {keys[task_id]} moved {steps}.")

    def _check_row(self, row: TranscriptionTask, order: Order) -> None:
        if not row.is_finished:
            self._balance.lost += 1
            self._fault(
                f"Task {row.public_id} is still {row.status}: attempts {row.attempts}, "
                f"losses {row.losses}, owner {row.lease_owner!r}, hint sent at "
                f"{row.dispatched_at}."
            )
            return
        if row.lease_token is not None:
            self._fault(f"Task {row.public_id} has ended with a lease.")
        transcripts = Transcript.objects.filter(task=row)
        if row.status != Status.COMPLETED and transcripts.exists():
            self._fault(f"Task {row.public_id}, {row.status}, has a transcript.")
        if row.status == Status.COMPLETED:
            self._check_text(row, order, transcripts)
        elif row.status == Status.FAILED:
            self._check_failure(row, order)
        elif order.cancel_after is None:
            self._fault(f"Task {row.public_id} was cancelled by nobody.")
        if order.wants_callback:
            self._check_callback(row, order)

    def _check_text(
        self, row: TranscriptionTask, order: Order, transcripts: Any
    ) -> None:
        texts = [transcript.text for transcript in transcripts]
        if not texts:
            self._balance.lost += 1
            self._fault(f"Task {row.public_id} is completed without a transcript.")
        elif order.kind in FAILURES:
            self._fault(f"Task {row.public_id} heard something in {order.kind}.")
        elif texts != [self._texts[order.kind]]:
            self._fault(f"Task {row.public_id} heard {texts} in {order.kind}.")

    def _check_failure(self, row: TranscriptionTask, order: Order) -> None:
        if row.error_code == FAILURES.get(order.kind):
            return
        if row.error_code == "worker_lost" and row.finished_at is not None:
            first, last = row.created_at.timestamp(), row.finished_at.timestamp()
            if self._monkey.harms_between(first, last) > LOSSES_FORGIVEN:
                self._balance.unlucky += 1
                return
        self._fault(
            f"Task {row.public_id}, {order.kind}, failed with {row.error_code}: "
            f"{row.error_message}"
        )

    def _check_callback(self, row: TranscriptionTask, order: Order) -> None:
        if not self._receiver.knows(order.file_name, row.status):
            self._balance.callbacks_missing += 1
            self._fault(f"Nobody told that task {row.public_id} is {row.status}.")

    def _check_leftovers(self) -> None:
        """After the sweep of the next day no file and no part of a text is left."""
        root = Path(settings.MEDIA_ROOT)
        # What was kept for another try of its client.
        TranscriptionTask.objects.filter(media_expires_at__isnull=False).update(
            media_expires_at=Now()
        )
        while retention.discard_expired_media():
            pass
        before = len(_files(root))
        two_days_ago = time.time() - 2 * DAY_SECONDS
        for path in root.rglob("*"):
            os.utime(path, (two_days_ago, two_days_ago))
        retention.sweep()
        left = _files(root)
        self._balance.swept = before - len(left)
        for path in left:
            self._fault(f"{path.relative_to(root)} belongs to nobody.")
        parts = TranscriptPart.objects.count()
        if parts:
            self._fault(f"{parts} parts of transcripts are left.")


def _files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]

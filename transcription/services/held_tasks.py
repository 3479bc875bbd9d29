"""Tasks as held work: what is claimed, taken back and hinted of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from django.db.models import Case, Count, IntegerField, Q, QuerySet, Value, When

from transcription.models import TranscriptionTask
from transcription.services import turns
from transcription.services.transitions import lost_workers
from transcription.services.transitions.changes import WAITING, Status, put_back
from transcription.services.turns import MAY_START
from transcription.work.kinds import WorkKind
from transcription.work.publishing import Hint
from whisperhub.queues import PRIORITIES

PREPARE_TASK: Final = "transcription.tasks.prepare_media"
INFERENCE_TASK: Final = "transcription.tasks.run_transcription"
PRIORITY_RANK: Final = Case(
    *(
        When(effective_priority=priority, then=Value(rank))
        for rank, priority in enumerate(PRIORITIES)
    ),
    output_field=IntegerField(),
)


class TaskWork(WorkKind[TranscriptionTask]):
    """Tasks as held work: media workers and inference workers hold them.

    A hint is for a lane, and wakes a worker for the task of that lane whose turn it is.
    So there are as many hints in a lane as tasks wait there for one.
    """

    name = "task"
    model = TranscriptionTask
    cancel_column = "cancel_requested_at"
    hint_columns = (
        "public_id",
        "status",
        "model",
        "effective_priority",
        "attempts",
        "losses",
    )

    def may_start(self) -> Q:
        """A condition: it waits, nobody holds it, and its pause is over."""
        return MAY_START & Q(status__in=WAITING, lease_token=None)

    def hint(self, row: TranscriptionTask) -> Hint:
        """The message that wakes a worker for the lane of a task."""
        preparing = row.status == Status.PREPARING
        start = row.attempts + row.losses + 1
        lane = turns.lane_of(row)
        return Hint(
            task=PREPARE_TASK if preparing else INFERENCE_TASK,
            args=[lane],
            message_id=f"{row.public_id}-{'p' if preparing else 'a'}{start}",
            queue_name=lane,
        )

    def take_back(self, row: TranscriptionTask) -> str | None:
        """Take a task, as it was read, from a worker whose lease has run out."""
        token = row.lease_token
        return None if token is None else lost_workers.take_back(row.pk, token)

    def put_back(self) -> dict[str, Any]:
        """The changes that return a claimed task to where it waited."""
        return put_back()

    def unsent(self, limit: int) -> Iterator[int]:
        """The tasks that may start and have no hint: of each lane who is next."""
        waiting = self.rows.filter(self.may_start(), dispatched_at=None)
        lanes = list(
            waiting.order_by(PRIORITY_RANK)
            .values("status", "model", "effective_priority")
            .distinct()
        )
        left = limit
        for position, lane in enumerate(lanes):
            # Turns of different lanes do not compare: each has its share of a batch.
            share = -(-left // (len(lanes) - position))
            # Who is next comes first: without a hint nobody is served.
            ids = waiting.filter(**lane).order_by("turn", "id")[:share]
            for task_id in ids.values_list("pk", flat=True):
                left -= 1
                yield task_id

    def waiting_in_queues(self) -> dict[str, int]:
        """How many tasks wait in each lane, with a hint or without."""
        waiting = TranscriptionTask.objects.filter(lane__isnull=False).order_by()
        return dict(waiting.values_list("lane").annotate(Count("pk")))

    def hinted_in(self, queue_name: str) -> QuerySet[TranscriptionTask]:
        """The tasks of a lane whose hints were sent, those with the last turns first.

        The others keep theirs meanwhile, and nobody is served without.
        """
        return TranscriptionTask.objects.filter(
            lane=queue_name, dispatched_at__isnull=False
        ).order_by("-turn", "-id")


TASKS: Final = TaskWork()

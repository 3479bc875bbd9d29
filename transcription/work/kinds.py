"""What every kind of held work has in common: leases, losses and hints.

A kind of work is a model with the columns of `Leased` and one instance of a subclass of
`WorkKind`, which stands beside the arrows of that model. Each arrow is one conditional
UPDATE with its whole condition; what is generic about them is here. All moments come
from the database's clock, so that workers on several machines agree.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Generic, TypeVar

from django.conf import settings
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from transcription.database import (
    after_now,
    by_itself,
    despite_conflicts,
    despite_outages,
)
from transcription.errors import LeaseLostError
from transcription.models import Leased
from transcription.work.publishing import Hint, breaker, publish, queue_length

logger = logging.getLogger(__name__)

RowT = TypeVar("RowT", bound=Leased)

# Rows handled by one step of the dispatcher: a long backlog must not keep the other
# steps waiting.
BATCH: Final = 500
# A hint this young may be between two places: marked and not yet in its queue, or taken
# from there by a worker that is about to claim a row. It is also the least time after
# which the search for lost hints replaces that of a row.
LEAST_AGE: Final = timedelta(seconds=2)

ALWAYS: Final = Q()
NO_LEASE: Final[dict[str, Any]] = {
    "lease_token": None,
    "lease_owner": "",
    "lease_expires_at": None,
}
# Of a held row that waits again, whatever its kind.
PUT_BACK: Final[dict[str, Any]] = {"dispatched_at": None, **NO_LEASE}


@dataclass(frozen=True)
class Lease:
    """The right to write to one row; made by a claim, renewed by the heartbeat."""

    kind: WorkKind[Any]
    row_id: int
    token: uuid.UUID

    def __str__(self) -> str:
        return f"{self.kind.name} {self.row_id}"

    @property
    def rows(self) -> QuerySet[Any]:
        """The one row, as long as it is under this lease."""
        return self.kind.rows.filter(pk=self.row_id, lease_token=self.token)

    def write(self, **changes: Any) -> None:
        """Change the row.

        Raises:
            LeaseLostError: the lease is no longer ours; nothing was written.
        """
        if not self.rows.update(**changes):
            raise self.lost_error()

    def lost_error(self) -> LeaseLostError:
        """What is raised when the row is no longer under this lease."""
        return LeaseLostError(f"The lease of {self} is lost.")


class WorkKind(Generic[RowT]):
    """One kind of rows that processes hold; each has one instance.

    A subclass says what sets its rows apart. The rest holds for all of them.

    Attributes:
        name: of one row, in logs.
        model: the class of the rows.
        queue_name: where all of its hints go. Kinds with several queues override
            `waiting_in_queues` and `hinted_in` instead.
        cancel_column: when somebody wanted the work to stop; None: nobody can.
        hint_columns: of the row, that `hint` needs.
        order: of service, among rows without a hint.
    """

    name: str
    model: type[RowT]
    queue_name: str = ""
    cancel_column: str | None = None
    hint_columns: tuple[str, ...] = ("public_id",)
    order: tuple[str, ...] = ("pk",)

    # --- What a subclass says --------------------------------------------------------

    def may_start(self) -> Q:
        """A condition: the row waits, nobody holds it, and its time has come."""
        raise NotImplementedError

    def hint(self, row: RowT) -> Hint:
        """The message that wakes a worker for a row."""
        raise NotImplementedError

    def take_back(self, row: RowT) -> str | None:
        """Take a row, as it was read, from a process whose lease has run out.

        Returns:
            Where it stands now; None if it is no longer under the lease that was read.
        """
        raise NotImplementedError

    def put_back(self) -> dict[str, Any]:
        """The changes that return a held row to where it waited."""
        return dict(PUT_BACK)

    def lease_length(self) -> timedelta:
        """How long a claim or a renewal holds."""
        return timedelta(seconds=settings.LEASE_SECONDS)

    def unsent(self, limit: int) -> Iterable[int]:
        """The rows that may start and have no hint, in the order of service."""
        unsent = self.rows.filter(self.may_start(), dispatched_at=None)
        return unsent.order_by(*self.order).values_list("pk", flat=True)[:limit]

    def waiting_in_queues(self) -> dict[str, int]:
        """Of each queue, how many rows at most wait for its messages."""
        return {self.queue_name: self.hinted_in(self.queue_name).count()}

    def hinted_in(self, queue_name: str) -> QuerySet[RowT]:
        """The rows whose hints went to a queue; who needs a new one most is first.

        Messages are taken in the order in which they were sent. So where they name
        their rows, a row that still waits has lost its own before those behind it.
        """
        hinted = self.rows.filter(self.may_start(), dispatched_at__isnull=False)
        return hinted.order_by("dispatched_at", "pk")

    # --- Leases ----------------------------------------------------------------------

    @property
    def rows(self) -> QuerySet[RowT]:
        """All rows of this kind."""
        return self.model._default_manager.all()

    def lease(self, row_id: int, token: uuid.UUID | None) -> Lease:
        """The lease that stands in a row.

        Raises:
            LeaseLostError: there is none.
        """
        if token is None:
            raise LeaseLostError(f"Nobody holds {self.name} {row_id}.")
        return Lease(self, row_id, token)

    @despite_outages
    def read(self, row_id: int) -> RowT | None:
        """A row, for the worker that has claimed it; None: it was deleted since."""
        return self.rows.filter(pk=row_id).first()

    def lease_end(self) -> Any:
        """An expression: when a lease taken or renewed now runs out."""
        return after_now(self.lease_length())

    def claim(
        self, row_id: int, waiting: Q, *, owner: str, **changes: Any
    ) -> Lease | None:
        """Take a row. None: another process was first.

        Args:
            row_id: the row.
            waiting: the whole condition under which it may be taken.
            owner: the process.
            changes: what the claim writes beside the lease.
        """
        lease = Lease(self, row_id, uuid.uuid4())
        claimed = self.rows.filter(waiting, pk=row_id).update(
            lease_token=lease.token,
            lease_owner=owner,
            lease_expires_at=self.lease_end(),
            **changes,
        )
        return lease if claimed else None

    @despite_conflicts
    def renew(self, leases: Collection[Lease]) -> dict[uuid.UUID, bool]:
        """Prolong the leases that still stand.

        Returns:
            For each token that still stands, whether its work is to be cancelled.
        """
        # By the key: not every model has an index of its tokens.
        held: QuerySet[Any] = self.rows.filter(
            pk__in=[lease.row_id for lease in leases],
            lease_token__in=[lease.token for lease in leases],
        )
        held.update(lease_expires_at=self.lease_end())
        if self.cancel_column is None:
            return dict.fromkeys(held.values_list("lease_token", flat=True), False)
        standing = held.values_list("lease_token", self.cancel_column)
        return {token: wanted_at is not None for token, wanted_at in standing}

    def hand_back(self, lease: Lease, only_if: Q = ALWAYS, **changes: Any) -> bool:
        """Return a held row to where it waited.

        Args:
            lease: the right to write.
            only_if: what must be true beyond that.
            changes: what is written beside that.
        """
        back = {**self.put_back(), **changes}
        return bool(lease.rows.filter(only_if).update(**back))

    def expired(self, row: RowT) -> QuerySet[RowT]:
        """A row, if it is under the lease that was read, and that has run out."""
        return self.rows.filter(
            pk=row.pk, lease_token=row.lease_token, lease_expires_at__lt=Now()
        )

    def take_back_expired(
        self, then: Callable[[RowT, str], object] | None = None
    ) -> int:
        """Take back the rows of processes that stopped renewing their leases.

        Args:
            then: called with each row as it was read, and where it stands now.

        Returns:
            How many.
        """
        expired = self.rows.filter(lease_expires_at__lt=Now())
        taken = 0
        for row in expired.order_by("lease_expires_at")[:BATCH]:
            with by_itself(f"taking {self.name}s back", row.public_id):
                outcome = self.take_back(row)
                if outcome is None:
                    continue
                taken += 1
                logger.warning(
                    "%s %s: lease of %s expired, %s",
                    self.name.capitalize(),
                    row.public_id,
                    row.lease_owner,
                    str(outcome),
                )
                if then is not None:
                    then(row, outcome)
        return taken

    # --- Hints -----------------------------------------------------------------------

    def send_hint(self, row_id: int) -> bool:
        """Wake a worker for a waiting row; never raises for a broker that is away.

        Returns:
            Whether a message is on its way. If not, `dispatched_at` is empty and the
            dispatcher will try again.
        """
        if breaker.is_open() or not self.mark_dispatched(row_id):
            return False
        row = self.rows.filter(pk=row_id).only(*self.hint_columns).first()
        # Without a row it was deleted a moment ago.
        return row is not None and self.send_marked(row)

    def send_marked(self, row: RowT) -> bool:
        """Send the hint of a row that says already that one is on its way.

        Args:
            row: as it stands in the database.

        Returns:
            Whether it is; if not, the row does not say so any more.
        """
        error = publish(self.hint(row))
        if error is None:
            return True
        self.mark_undispatched(row.pk)
        logger.warning(
            "%s %s: hint not sent (%s)", self.name.capitalize(), row.public_id, error
        )
        return False

    def send_unsent(self) -> int:
        """Send hints for rows that may start and have none; returns how many."""
        sent = 0
        for row_id in self.unsent(BATCH):
            if breaker.is_open():
                break
            with by_itself(f"sending hints of {self.name}s", row_id):
                sent += self.send_hint(row_id)
        return sent

    @despite_conflicts
    def mark_dispatched(self, row_id: int) -> bool:
        """Note that a hint is about to be sent. False: not waiting, or sent already."""
        return bool(
            self.rows.filter(self.may_start(), pk=row_id, dispatched_at=None).update(
                dispatched_at=Now()
            )
        )

    @despite_conflicts
    def mark_undispatched(
        self, *row_ids: int, older_than: timedelta | None = None
    ) -> int:
        """Note of waiting rows that no hint is on its way; returns of how many.

        Args:
            row_ids: the rows.
            older_than: leave younger hints alone.
        """
        marked = self.rows.filter(
            self.may_start(), pk__in=row_ids, dispatched_at__isnull=False
        )
        if older_than is not None:
            marked = marked.filter(dispatched_at__lte=Now() - older_than)
        return marked.update(dispatched_at=None)

    def forget_lost_hints(self) -> int:
        """Mark rows as undispatched if there are fewer messages than rows.

        The next round of the dispatcher sends them a new hint. A message that a worker
        has just taken is missed as well. The one too many that is then sent finds
        nobody; and since a queue gets no more hints than it has rows beyond its
        messages, they do not become more and more.

        Returns:
            How many hints were lost.

        Raises:
            RedisError, OSError: the broker is away.
        """
        lost = 0
        for queue_name, waiting in self.waiting_in_queues().items():
            # The queue before the rows: what is claimed meanwhile waits no more, and
            # what comes meanwhile is too young.
            messages = queue_length(queue_name)
            if waiting <= messages:
                continue
            hinted = self.hinted_in(queue_name).filter(
                dispatched_at__lte=Now() - LEAST_AGE
            )
            missing = hinted.count() - messages
            if missing > 0:
                ids = hinted.values_list("pk", flat=True)[: min(missing, BATCH)]
                lost += self.mark_undispatched(*ids, older_than=LEAST_AGE)
        if lost:
            logger.warning("%d hints of %ss were lost", lost, self.name)
        return lost

    def forget_hints(self, queue_name: str, count: int) -> int:
        """Mark rows as undispatched because so many hints of their queue are lost.

        Returns:
            How many were marked; the others are later.
        """
        hinted = self.hinted_in(queue_name)
        ids = hinted.values_list("pk", flat=True)[: min(count, BATCH)]
        return self.mark_undispatched(*ids)

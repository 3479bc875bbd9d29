"""A third kind of held work, as another application would add it."""

from typing import Any, ClassVar

from django.db import models
from django.db.models.functions import Now

from transcription.models import Leased
from transcription.work.kinds import NO_LEASE, Lease, WorkKind
from transcription.work.publishing import Hint


class Errand(Leased):
    state = models.CharField(max_length=9, default="waiting")
    losses = models.PositiveSmallIntegerField(default=0)
    cancel_requested_at = models.DateTimeField(null=True)
    objects: ClassVar["models.Manager[Errand]"] = models.Manager()

    def __str__(self) -> str:
        return f"Errand {self.pk}"


class ErrandWork(WorkKind[Errand]):
    name, model, queue_name = "errand", Errand, "errands"
    cancel_column = "cancel_requested_at"

    def may_start(self) -> models.Q:
        return models.Q(state="waiting", lease_token=None)

    def hint(self, row: Errand) -> Hint:
        return Hint("tests.run", [row.pk], f"{row.public_id}-e", self.queue_name)

    def put_back(self) -> dict[str, Any]:
        return {**super().put_back(), "state": "waiting"}

    def take_back(self, row: Errand) -> str | None:
        lost = self.expired(row)
        if lost.exclude(cancel_requested_at=None).update(**NO_LEASE, state="cancelled"):
            return "cancelled"
        back = {**self.put_back(), "losses": models.F("losses") + 1}
        wanted = lost.filter(cancel_requested_at=None)
        return "waiting" if wanted.update(**back) else None


ERRANDS = ErrandWork()


def claim(errand_id: int) -> Lease | None:
    return ERRANDS.claim(errand_id, ERRANDS.may_start(), owner="w", state="running")


def finish(lease: Lease) -> None:
    if not lease.rows.filter(cancel_requested_at=None).update(**NO_LEASE, state="done"):
        lease.write(**NO_LEASE, state="cancelled")


def cancel(errand_id: int) -> None:
    waits = models.When(state="waiting", then=models.Value("cancelled"))
    rows = Errand.objects.filter(pk=errand_id, state__in=["waiting", "running"])
    rows.update(state=models.Case(waits, default="state"), cancel_requested_at=Now())

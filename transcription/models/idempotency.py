"""Requests that were sent twice."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from transcription.models.task import TranscriptionTask


class IdempotencyKey(models.Model):
    """The name that a client gave to one request, so that sending it twice is harmless.

    Made in the transaction that makes the task, and gone after a while: the dispatcher
    deletes it. The key outlives its task, so that a request that comes late does not
    bring back what its client deleted.
    """

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="idempotency_keys",
    )
    # A digest, because MySQL would take `Key`, `key` and `key ` for one.
    key_digest = models.CharField(max_length=64)
    request_digest = models.CharField(max_length=64)
    task = models.ForeignKey(
        TranscriptionTask,
        null=True,
        on_delete=models.SET_NULL,
        related_name="idempotency_keys",
    )
    created_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["created_at"], name="idempotency_oldest")]
        constraints = [
            models.UniqueConstraint(
                fields=["owner", "key_digest"], name="idempotency_key"
            )
        ]

    def __str__(self) -> str:
        return f"Idempotency key of user {self.owner_id}"

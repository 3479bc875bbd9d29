"""What rows have in common that processes hold for a while."""

from __future__ import annotations

import uuid

from django.db import models


class Leased(models.Model):
    """A row that one process at a time works on, for as long as its lease lasts.

    While `lease_token` is set, the process that holds this token, and no other, may
    write to the row. Empty `dispatched_at`: no hint is on its way, the dispatcher sends
    one when the row may start; `transcription.work` has the rules.
    """

    # The only name that clients and receivers know a row by; 122 random bits.
    public_id = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    dispatched_at = models.DateTimeField(null=True, blank=True)
    lease_token = models.UUIDField(null=True, blank=True, editable=False)
    lease_owner = models.CharField(max_length=200, blank=True, editable=False)
    lease_expires_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        abstract = True

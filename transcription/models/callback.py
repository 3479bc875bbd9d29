"""The news of a task's end, on its way to a client."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from transcription.models.leased import Leased
from transcription.models.task import TranscriptionTask


class Callback(Leased):
    """The news that a task has ended, on its way to the address its client gave.

    Made by `services.callbacks` in the transaction that ends the task; what it says is
    read from the task's row whenever it is sent. A test event has no task. Receivers
    know the event by `public_id`, however often it is sent.
    """

    class Event(models.TextChoices):
        """What happened; the word that receivers read."""

        TASK_COMPLETED = "task.completed", "task.completed"
        TASK_FAILED = "task.failed", "task.failed"
        TASK_CANCELLED = "task.cancelled", "task.cancelled"
        TEST = "callback.test", "callback.test"

    class State(models.TextChoices):
        """Where a callback stands; docs/architecture.md draws the arrows."""

        PENDING = "pending"
        DELIVERING = "delivering"
        DELIVERED = "delivered"
        UNDELIVERABLE = "undeliverable"

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="callbacks",
    )
    task = models.ForeignKey(
        TranscriptionTask,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="callbacks",
    )
    url = models.CharField(max_length=2048)
    headers = models.JSONField(default=dict, blank=True)
    event = models.CharField(max_length=20, choices=Event)
    # Of the request that it comes of: the task's, or one that wanted it sent again.
    request_id = models.CharField(max_length=64, blank=True)
    state = models.CharField(
        max_length=13, choices=State, default=State.PENDING, editable=False
    )
    created_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(
        null=True, blank=True, help_text="When it was delivered, or given up."
    )

    next_attempt_at = models.DateTimeField()
    attempts = models.PositiveIntegerField(default=0, help_text="Of all times.")
    failures = models.PositiveSmallIntegerField(
        default=0, help_text="Attempts that failed since it last began: its schedule."
    )
    losses = models.PositiveSmallIntegerField(
        default=0, help_text="Processes that died with it since it last began."
    )

    # What came of the last attempt.
    http_status = models.PositiveSmallIntegerField(null=True, blank=True)
    error_code = models.CharField(max_length=50, blank=True)

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["owner", "-id"], name="callback_owner_newest"),
            models.Index(fields=["owner", "state", "-id"], name="callback_owner_state"),
            # The dispatcher's two questions.
            models.Index(fields=["state", "next_attempt_at"], name="callback_due"),
            models.Index(fields=["lease_expires_at"], name="callback_leased"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["task", "event"], name="callback_once_for_an_event"
            )
        ]

    def __str__(self) -> str:
        return f"{self.event} {self.public_id} ({self.state})"


class CallbackAttempt(models.Model):
    """One try to deliver a callback; without a duration its end is not known yet."""

    callback = models.ForeignKey(
        Callback, on_delete=models.CASCADE, related_name="history"
    )
    number = models.PositiveIntegerField(help_text="From 1.")
    started_at = models.DateTimeField()
    duration_seconds = models.FloatField(null=True, blank=True)
    http_status = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="What the receiver answered."
    )
    error_code = models.CharField(
        max_length=50, blank=True, help_text="Why there was no answer."
    )

    class Meta:
        ordering = ["number"]
        constraints = [
            models.UniqueConstraint(
                fields=["callback", "number"], name="callback_attempt_number"
            )
        ]

    def __str__(self) -> str:
        return f"Attempt {self.number} of callback {self.callback_id}"


class CallbackSecret(models.Model):
    """What signs the callbacks of an owner; the newest of them never expires.

    Made by `services.callback_secrets`. It is stored readable, because every attempt
    is signed anew.
    """

    PREFIX_LENGTH = 10

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="callback_secrets",
    )
    number = models.PositiveIntegerField(help_text="From 1; the highest is the newest.")
    secret = models.CharField(max_length=100, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(
        null=True, blank=True, help_text="Set when a newer one was made."
    )

    class Meta:
        ordering = ["-number"]
        constraints = [
            models.UniqueConstraint(
                fields=["owner", "number"], name="callback_secret_number"
            )
        ]

    def __str__(self) -> str:
        return f"{self.prefix}…"

    @property
    def prefix(self) -> str:
        """Enough to tell it from others, and too little to sign."""
        return self.secret[: self.PREFIX_LENGTH]

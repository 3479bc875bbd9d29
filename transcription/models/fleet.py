"""The processes that run."""

from __future__ import annotations

from django.db import models

from transcription.engines.spec import ENGINE_CHOICES
from whisperhub.sentences import Sentence


class WorkerSlot(models.Model):
    """One inference process and the model it holds; the process writes it.

    A model counts as served while a slot seen within the last day names it.
    """

    class State(models.TextChoices):
        """What the process says of itself."""

        LOADING = "loading"
        READY = "ready"
        DRAINING = "draining"
        STOPPED = "stopped"
        FAILED = "failed"

    name = models.CharField(max_length=100, unique=True)
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    boot_id = models.UUIDField(help_text="New at every start of the process.")
    device = models.CharField(max_length=50)
    compute_type = models.CharField(max_length=20, blank=True)
    engine = models.CharField(max_length=20, choices=ENGINE_CHOICES)
    model = models.CharField(max_length=100)
    model_revision = models.CharField(max_length=100, blank=True)
    notice = models.CharField(
        max_length=200, blank=True, help_text="What users of this model must know."
    )
    languages = models.JSONField(
        default=list,
        blank=True,
        help_text="Codes of the languages that the model knows, once it is loaded.",
    )
    state = models.CharField(max_length=8, choices=State, default=State.LOADING)
    message = models.TextField(blank=True, help_text="Why it failed, for people.")
    message_parts = models.JSONField(null=True, blank=True, editable=False)
    running_jobs = models.PositiveSmallIntegerField(default=0)
    memory_bytes = models.BigIntegerField(default=0)
    started_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()

    class Meta:
        ordering = ["name"]
        indexes = [models.Index(fields=["model"], name="slot_model")]

    def __str__(self) -> str:
        return f"{self.name} ({self.model} on {self.device})"

    @property
    def sentence(self) -> Sentence:
        """What `message` says, for whatever language it is read in."""
        return Sentence.read(self.message, self.message_parts)


class DispatcherTick(models.Model):
    """When a dispatcher of a machine last did its round; it writes that itself."""

    # As long as MySQL's older row formats can index.
    host = models.CharField(max_length=191, unique=True)
    pid = models.PositiveIntegerField()
    ticked_at = models.DateTimeField()
    # The steps that failed when they last ran, by name.
    failing = models.CharField(max_length=255, default="", db_default="")

    def __str__(self) -> str:
        return f"Dispatcher on {self.host}"

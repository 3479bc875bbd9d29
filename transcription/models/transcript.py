"""What was heard."""

from __future__ import annotations

from django.db import models

from transcription.models.task import TranscriptionTask


class Transcript(models.Model):
    """What an engine heard; written once, together with the move to completed.

    A table of its own, so that lists of tasks never carry it.
    """

    task = models.OneToOneField(
        TranscriptionTask,
        on_delete=models.CASCADE,
        primary_key=True,
        related_name="transcript",
    )
    text = models.TextField()
    language = models.CharField(max_length=10)
    language_probability = models.FloatField(null=True)
    language_probabilities = models.JSONField(default=dict)
    duration_seconds = models.FloatField()
    duration_after_vad_seconds = models.FloatField(null=True)
    segments = models.JSONField(default=list)
    options = models.JSONField(default=dict, help_text="As the engine used them.")
    model = models.JSONField(
        default=dict, help_text="Name, revision, engine, device, compute type."
    )
    # Of its model, in sentences; those of its media are on the task.
    notices = models.JSONField(default=list, help_text="What a reader must know.")
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"Transcript of task {self.task_id}"


class TranscriptPart(models.Model):
    """Segments of a task that still runs; gone once its transcript is written."""

    task = models.ForeignKey(
        TranscriptionTask, on_delete=models.CASCADE, related_name="parts"
    )
    number = models.PositiveIntegerField(help_text="From 0, in the order of the media.")
    segments = models.JSONField(default=list)

    class Meta:
        ordering = ["number"]
        constraints = [
            models.UniqueConstraint(fields=["task", "number"], name="part_number")
        ]

    def __str__(self) -> str:
        return f"Part {self.number} of task {self.task_id}"

"""One recording and what is to be done with it."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Concat

from transcription.engines.spec import ENGINE_CHOICES
from transcription.models.leased import Leased
from whisperhub.queues import PREPARE
from whisperhub.sentences import Sentence


def listed_by(name: str, *fields: str) -> models.Index:
    """The index of an owner's tasks with one value in a field, by their age."""
    return models.Index(
        fields=["owner", *fields, "created_at", "id"], name=f"task_list_{name}"
    )


class TranscriptionTask(Leased):
    """One recording on its way to text; the truth about it, whatever a queue says.

    Made by `services.submission`; its state changes only in `services.transitions`.
    """

    class Status(models.TextChoices):
        """Where a task stands; docs/architecture.md draws the arrows."""

        PREPARING = "preparing"
        QUEUED = "queued"
        PROCESSING = "processing"
        COMPLETED = "completed"
        FAILED = "failed"
        CANCELLED = "cancelled"

    class Priority(models.TextChoices):
        """The order of service: all of high before any of normal before any of low."""

        HIGH = "high"
        NORMAL = "normal"
        LOW = "low"

    class TaskType(models.TextChoices):
        """What Whisper does: text as spoken, text in English, or no text at all."""

        TRANSCRIBE = "transcribe"
        TRANSLATE = "translate"
        DETECT_LANGUAGE = "detect_language"

    class Source(models.TextChoices):
        """How the media reached us."""

        UPLOAD = "upload"
        LINK = "link"

    FINAL: ClassVar[frozenset[str]] = frozenset(
        {Status.COMPLETED, Status.FAILED, Status.CANCELLED}
    )

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="tasks"
    )
    request_id = models.CharField(max_length=64, blank=True)
    # Its own index would be the beginning of another; see `task_of_account` below.
    quota_account = models.ForeignKey(
        "accounts.QuotaAccount",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        db_index=False,
        related_name="tasks",
        help_text="What it is counted for; see accounts.limits.",
    )
    # Unused since there are quota accounts; dropped in the next release.
    key_line = models.BigIntegerField(null=True, blank=True, editable=False)
    charged_seconds = models.FloatField(
        null=True,
        blank=True,
        editable=False,
        help_text="Seconds of audio that were counted for that account.",
    )

    # What was asked.
    status = models.CharField(
        max_length=10, choices=Status, default=Status.PREPARING, editable=False
    )
    priority = models.CharField(max_length=6, choices=Priority, default=Priority.NORMAL)
    task_type = models.CharField(
        max_length=15, choices=TaskType, default=TaskType.TRANSCRIBE
    )
    engine = models.CharField(max_length=20, choices=ENGINE_CHOICES)
    model = models.CharField(max_length=100, help_text="The model's name in the API.")
    language = models.CharField(
        max_length=10, blank=True, help_text="Empty: detected from the speech."
    )
    options = models.JSONField(default=dict, blank=True)
    platform = models.CharField(
        max_length=50, blank=True, help_text="A free label of the client's."
    )
    callback_url = models.CharField(
        max_length=2048, blank=True, help_text="Told when the task has ended."
    )
    # They may hold secrets: nobody but the receiver gets to see them.
    callback_headers = models.JSONField(
        default=dict, blank=True, help_text="Sent along, beside our own."
    )

    reuse = models.BooleanField(
        default=False,
        help_text="A finished result for the same media and options will do.",
    )
    # Of all of this but the media, with the defaults of what was left out.
    question_digest = models.CharField(max_length=64, blank=True, editable=False)

    # The media.
    source = models.CharField(max_length=6, choices=Source, default=Source.UPLOAD)
    file_name = models.CharField(
        max_length=255, blank=True, help_text="The client's name for it: a label only."
    )
    file_url = models.CharField(max_length=2048, blank=True)
    file_size_bytes = models.BigIntegerField(null=True, blank=True)
    media_sha256 = models.CharField(
        max_length=64, blank=True, help_text="Of the file; empty until it is here."
    )
    media_format = models.CharField(max_length=50, blank=True)
    audio_codec = models.CharField(max_length=50, blank=True)
    sample_rate = models.PositiveIntegerField(null=True, blank=True)
    channels = models.PositiveSmallIntegerField(null=True, blank=True)
    has_video = models.BooleanField(null=True, blank=True)
    media_duration_seconds = models.FloatField(null=True, blank=True)
    audio_tracks = models.JSONField(
        default=list,
        blank=True,
        editable=False,
        help_text="All that the media has, and which of them is transcribed.",
    )

    samples_bytes = models.BigIntegerField(
        null=True,
        blank=True,
        editable=False,
        help_text="What its decoded audio takes on the media volume by now.",
    )
    media_expires_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="Until when the upload of a task that failed or was cancelled stays.",
    )

    # The moments of its way, by the database's clock.
    created_at = models.DateTimeField(auto_now_add=True)
    retried_at = models.DateTimeField(
        null=True, blank=True, help_text="When its client had it start again."
    )
    preparation_started_at = models.DateTimeField(null=True, blank=True)
    queued_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    inference_seconds = models.FloatField(
        null=True, blank=True, help_text="The engine's own time."
    )

    # The queue.
    effective_priority = models.CharField(
        max_length=6, choices=Priority, default=Priority.NORMAL
    )
    not_before = models.DateTimeField(null=True, blank=True)
    turn = models.BigIntegerField(
        default=0, editable=False, help_text="Its place in its lane: the least is next."
    )
    attempts = models.PositiveSmallIntegerField(
        default=0, help_text="Starts of the present stage that were the task's own."
    )
    losses = models.PositiveSmallIntegerField(
        default=0, help_text="Workers that died with it."
    )
    cancel_requested_at = models.DateTimeField(null=True, blank=True)

    # What clients watch.
    progress = models.FloatField(default=0.0, help_text="Share of the media done, 0-1.")
    progress_at = models.DateTimeField(null=True, blank=True)
    detected_language = models.CharField(max_length=10, blank=True)
    notices = models.JSONField(
        default=list,
        blank=True,
        editable=False,
        help_text="What a reader of the result must know; see transcription.notices.",
    )
    reused_from = models.UUIDField(
        null=True,
        blank=True,
        help_text="The task whose result this one got; it may be deleted since.",
    )
    error_code = models.CharField(max_length=50, blank=True)
    error_message = models.TextField(blank=True)
    # How its sentence was made, for saying it in another language.
    error_parts = models.JSONField(null=True, blank=True, editable=False)

    # What lists are asked for, kept by the database: MariaDB has no index on an
    # expression. Numbers, because SQLite uses no index for a bare boolean column.
    has_result = models.GeneratedField(
        expression=Case(When(status="completed", then=1), default=0),
        output_field=models.PositiveSmallIntegerField(),
        db_persist=True,
    )
    has_error = models.GeneratedField(
        expression=Case(When(status="failed", then=1), default=0),
        output_field=models.PositiveSmallIntegerField(),
        db_persist=True,
    )
    spoken_language = models.GeneratedField(
        expression=Case(
            When(detected_language="", then=F("language")),
            default=F("detected_language"),
        ),
        output_field=models.CharField(max_length=10),
        db_persist=True,
    )
    # The queue that a task waits in; none while somebody holds it, and none while it
    # pauses after a failure: those must not stand before the others.
    lane = models.GeneratedField(
        expression=Case(
            When(
                Q(lease_token__isnull=False)
                | Q(dispatched_at=None, not_before__isnull=False),
                then=None,
            ),
            When(
                status="preparing",
                then=Concat(Value(f"{PREPARE}."), F("effective_priority")),
            ),
            When(
                status="queued",
                then=Concat(F("model"), Value("."), F("effective_priority")),
            ),
            default=None,
        ),
        output_field=models.CharField(max_length=110, null=True),
        db_persist=True,
    )

    class Meta:
        ordering = ["-id"]
        indexes = [
            # One for each filter of the list: its page is read from there in order,
            # and its count needs no row.
            listed_by("newest"),
            listed_by("status", "status"),
            listed_by("priority", "priority"),
            listed_by("type", "task_type"),
            listed_by("language", "spoken_language"),
            listed_by("engine", "engine"),
            listed_by("model", "model"),
            listed_by("platform", "platform"),
            listed_by("result", "has_result"),
            listed_by("error", "has_error"),
            models.Index(fields=["owner", "finished_at", "id"], name="task_list_ended"),
            # What the samples of an owner take.
            models.Index(fields=["owner", "samples_bytes"], name="task_samples"),
            # Results for the same media.
            models.Index(fields=["owner", "media_sha256"], name="task_same_media"),
            # What waits for a model, and what it last did.
            models.Index(
                fields=["model", "status", "effective_priority", "id"],
                name="task_of_model",
            ),
            # What of a quota account has not ended.
            models.Index(fields=["quota_account", "status"], name="task_of_account"),
            # Whose turn it is in a lane, and where an owner's next task goes.
            models.Index(fields=["lane", "turn", "id"], name="task_turn"),
            models.Index(fields=["lane", "owner", "turn"], name="task_turn_of_owner"),
            # The dispatcher's questions. (No partial indexes: MariaDB has none.)
            models.Index(fields=["status", "dispatched_at"], name="task_waiting"),
            models.Index(fields=["lease_expires_at"], name="task_leased"),
            models.Index(fields=["media_expires_at"], name="task_media_expires"),
            models.Index(fields=["lease_token"], name="task_lease_token"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(progress__gte=0, progress__lte=1),
                name="task_progress_is_a_share",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.public_id} ({self.status})"

    @property
    def is_finished(self) -> bool:
        """Whether the state is final."""
        return self.status in self.FINAL

    @property
    def error_sentence(self) -> Sentence:
        """What `error_message` says, for whatever language it is read in."""
        return Sentence.read(self.error_message, self.error_parts)


class OwnerInLane(models.Model):
    """How far an owner has come in one lane; `services.turns` writes it.

    The greatest of a lane is the lane's clock: nobody new begins before it.
    """

    lane = models.CharField(max_length=110)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+"
    )
    started_turn = models.BigIntegerField(
        default=0, help_text="The greatest turn of this owner's tasks that started."
    )

    class Meta:
        indexes = [models.Index(fields=["lane", "started_turn"], name="lane_clock")]
        constraints = [
            models.UniqueConstraint(fields=["lane", "owner"], name="owner_in_lane")
        ]

    def __str__(self) -> str:
        return f"User {self.owner_id} in {self.lane}: {self.started_turn}"

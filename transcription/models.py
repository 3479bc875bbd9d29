"""The rows: tasks with what belongs to them, keys of requests, slots, dispatchers."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Concat

from transcription.engines.spec import ENGINE_CHOICES
from whisperhub.queues import PREPARE
from whisperhub.sentences import Sentence


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
    # A number and no reference: a task stays when its key is deleted.
    key_line = models.BigIntegerField(
        null=True,
        blank=True,
        editable=False,
        help_text="The line of keys whose quotas it counts for; see accounts.limits.",
    )
    charged_seconds = models.FloatField(
        null=True,
        blank=True,
        editable=False,
        help_text="Seconds of audio that were counted for that line.",
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
            # What of a line of keys has not ended.
            models.Index(fields=["key_line", "status"], name="task_of_key_line"),
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

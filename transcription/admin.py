"""The operators' console: what waits, what runs, what is stuck and why."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import truncatechars
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join

from transcription.errors import TooManySecretsError
from transcription.models import (
    Callback,
    CallbackAttempt,
    CallbackSecret,
    Transcript,
    TranscriptionTask,
    WorkerSlot,
)
from transcription.notices import shown
from transcription.services import (
    callback_secrets,
    callbacks,
    cancellation,
    retention,
    serving,
)
from whisperhub.admin_lookups import ShownFieldsOnly

Status = TranscriptionTask.Status

# Readable on both of the admin's colour schemes.
STATUS_COLOURS = {
    Status.PREPARING: "#7a869a",
    Status.QUEUED: "#b7791f",
    Status.PROCESSING: "#2b6cb0",
    Status.COMPLETED: "#2f855a",
    Status.FAILED: "#c53030",
    Status.CANCELLED: "#718096",
}

MOMENT = "%Y-%m-%d %H:%M:%S"


def age(since: Any) -> str:
    """A time span for people: 42 s, 3 min, 5 h, 2 d."""
    seconds = int((timezone.now() - since).total_seconds())
    for limit, unit, size in ((120, "s", 1), (7200, "min", 60), (172_800, "h", 3600)):
        if seconds < limit:
            return f"{seconds // size}\u00a0{unit}"
    return f"{seconds // 86_400}\u00a0d"


class StuckFilter(admin.SimpleListFilter):
    """Tasks that did not move for a while."""

    title = "stuck"
    parameter_name = "stuck"
    patience = timedelta(minutes=10)

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """One choice."""
        return [("yes", "not finished, older than 10 minutes")]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[TranscriptionTask]
    ) -> QuerySet[TranscriptionTask]:
        """Unfinished and old."""
        if self.value() == "yes":
            return queryset.exclude(status__in=TranscriptionTask.FINAL).filter(
                created_at__lt=timezone.now() - self.patience
            )
        return queryset


class ReadOnlyAdmin(ShownFieldsOnly):
    """Rows that machines write: shown, not edited."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody adds by hand."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Actions need it; a single row is only shown."""
        return obj is None and super().has_change_permission(request)


class TranscriptInline(admin.StackedInline):  # type: ignore[type-arg]
    """The transcript below its task, without the long JSON."""

    model = Transcript
    can_delete = False
    fields = ("language", "language_probability", "notices", "text_start")
    readonly_fields = ("language", "language_probability", "notices", "text_start")

    @admin.display(description="text")
    def text_start(self, transcript: Transcript) -> str:
        """The first 5,000 characters."""
        return truncatechars(transcript.text, 5000)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Transcripts come from workers."""
        return False


class CallbackInline(admin.TabularInline):  # type: ignore[type-arg]
    """The callbacks below their task, with each attempt."""

    model = Callback
    extra = 0
    can_delete = False
    show_change_link = True
    fields = ("event", "state", "next_attempt", "tries")
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Callback]:
        """With the attempts, which are few."""
        rows: QuerySet[Callback] = super().get_queryset(request)
        return rows.prefetch_related("history")

    @admin.display(description="next attempt")
    def next_attempt(self, callback: Callback) -> str:
        """When it is tried again, if it is."""
        return next_attempt(callback)

    @admin.display(description="attempts")
    def tries(self, callback: Callback) -> str:
        """One line for each."""
        return format_html_join(
            "",
            "<div>{}. {} {} {}</div>",
            (
                (
                    attempt.number,
                    f"{attempt.started_at:{MOMENT}}",
                    answer_of(attempt),
                    took(attempt),
                )
                for attempt in callback.history.all()
            ),
        )

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Callbacks come from the end of a task."""
        return False


def next_attempt(callback: Callback) -> str:
    """When a callback is tried again; a dash if it is not."""
    if callback.state != Callback.State.PENDING:
        return "–"
    return f"{callback.next_attempt_at:{MOMENT}}"


def answer_of(row: Callback | CallbackAttempt) -> str:
    """What the receiver answered, or why it did not."""
    return str(row.http_status or row.error_code or "…")


def took(attempt: CallbackAttempt) -> str:
    """How long an attempt took."""
    if attempt.duration_seconds is None:
        return ""
    return f"({attempt.duration_seconds:.2f}\u00a0s)"


@admin.register(TranscriptionTask)
class TranscriptionTaskAdmin(ReadOnlyAdmin):
    """Tasks: newest first, the state in colour, the error beside it."""

    list_display = [
        "short_id",
        "state",
        "priority",
        "share_done",
        "task_age",
        "error",
        "file_name",
        "model",
        "spoken",
        "duration",
        "tries",
        "owner",
    ]
    list_filter: ClassVar[Any] = [
        "status",
        StuckFilter,
        "priority",
        "task_type",
        "model",
        "engine",
        "error_code",
        "created_at",
    ]
    list_select_related = ["owner"]
    list_per_page = 50
    show_full_result_count = False
    search_fields = ["public_id", "file_name", "platform", "owner__username"]
    readonly_fields = ["notices_for_readers", "tracks_of_sound"]
    search_help_text = "Task id, file name, platform label or owner"
    inlines = [TranscriptInline, CallbackInline]
    actions = ["cancel_tasks", "delete_tasks"]
    fieldsets = [
        (
            None,
            {
                "fields": [
                    ("public_id", "owner"),
                    ("status", "progress", "progress_at"),
                    ("priority", "effective_priority"),
                    ("error_code", "error_message"),
                    "notices_for_readers",
                ]
            },
        ),
        (
            "Request",
            {
                "fields": [
                    ("task_type", "language", "detected_language"),
                    ("engine", "model"),
                    "options",
                    ("reuse", "reused_from"),
                    ("platform", "request_id"),
                    "callback_url",
                ]
            },
        ),
        (
            "Media",
            {
                "fields": [
                    ("source", "file_name", "file_size_bytes"),
                    "file_url",
                    ("media_sha256", "media_expires_at"),
                    ("media_format", "audio_codec", "sample_rate", "channels"),
                    ("has_video", "media_duration_seconds"),
                    "tracks_of_sound",
                ]
            },
        ),
        (
            "Its way",
            {
                "fields": [
                    ("created_at", "preparation_started_at", "queued_at"),
                    ("dispatched_at", "started_at", "finished_at"),
                    ("inference_seconds", "attempts", "losses", "not_before"),
                    ("lease_owner", "lease_expires_at", "cancel_requested_at"),
                ]
            },
        ),
    ]

    def get_actions(self, request: HttpRequest) -> Any:
        """Our own deletion, which takes the media along, in place of Django's."""
        actions = super().get_actions(request)
        actions.pop("delete_selected", None)
        return actions

    def delete_model(self, request: HttpRequest, obj: TranscriptionTask) -> None:
        """Delete the media as well."""
        retention.delete_task(obj)

    @admin.display(description="task", ordering="id")
    def short_id(self, task: TranscriptionTask) -> str:
        """The first part of the id."""
        return str(task.public_id)[:8]

    @admin.display(description="state", ordering="status")
    def state(self, task: TranscriptionTask) -> str:
        """The state in its colour."""
        return format_html(
            '<b style="color:{}">{}</b>',
            STATUS_COLOURS[Status(task.status)],
            task.get_status_display(),
        )

    @admin.display(description="progress", ordering="progress")
    def share_done(self, task: TranscriptionTask) -> str:
        """A bar and a percentage."""
        percent = round(task.progress * 100)
        return format_html(
            '<progress max="100" value="{}" style="width:5em"></progress> {}%',
            percent,
            percent,
        )

    @admin.display(description="age", ordering="created_at")
    def task_age(self, task: TranscriptionTask) -> str:
        """Since its submission."""
        return age(task.created_at)

    @admin.display(description="language", ordering="detected_language")
    def spoken(self, task: TranscriptionTask) -> str:
        """Asked for or detected."""
        return task.detected_language or task.language or "–"

    @admin.display(description="audio", ordering="media_duration_seconds")
    def duration(self, task: TranscriptionTask) -> str:
        """Hours, minutes and seconds."""
        if task.media_duration_seconds is None:
            return "–"
        return str(timedelta(seconds=round(task.media_duration_seconds)))

    @admin.display(description="tries")
    def tries(self, task: TranscriptionTask) -> str:
        """Attempts, and the workers that were lost."""
        return (
            f"{task.attempts} + {task.losses} lost"
            if task.losses
            else str(task.attempts)
        )

    @admin.display(description="audio tracks")
    def tracks_of_sound(self, task: TranscriptionTask) -> str:
        """A line for each, the transcribed one in bold."""
        return format_html_join(
            "",
            '<div style="font-weight:{}">{}. {} {} {}</div>',
            (
                (
                    "bold" if track["taken"] else "normal",
                    track["index"],
                    track["codec"] or "–",
                    track["language"],
                    track["title"],
                )
                for track in task.audio_tracks
            ),
        )

    @admin.display(description="notices")
    def notices_for_readers(self, task: TranscriptionTask) -> str:
        """A line for each: the code, and the sentence in the reader's language."""
        return format_html_join(
            "",
            "<div><b>{}</b>: {}</div>",
            (
                (notice["code"], notice["message"])
                for notice in map(shown, task.notices)
            ),
        )

    @admin.display(description="error", ordering="error_code")
    def error(self, task: TranscriptionTask) -> str:
        """The code, with the sentence on hover."""
        if not task.error_code:
            return ""
        return format_html(
            '<span title="{}">{}</span>', task.error_message, task.error_code
        )

    @admin.action(description="Cancel the selected tasks", permissions=["change"])
    def cancel_tasks(
        self, request: HttpRequest, queryset: QuerySet[TranscriptionTask]
    ) -> None:
        """Waiting ones at once, running ones at their next step."""
        self._apply(request, queryset, _cancel, "cancelled")

    @admin.action(
        description="Delete the selected tasks with their media", permissions=["delete"]
    )
    def delete_tasks(
        self, request: HttpRequest, queryset: QuerySet[TranscriptionTask]
    ) -> None:
        """Rows, transcripts and files."""
        self._apply(request, queryset, _delete, "deleted")

    def _apply(
        self,
        request: HttpRequest,
        queryset: QuerySet[TranscriptionTask],
        change: Callable[[TranscriptionTask], bool],
        done: str,
    ) -> None:
        outcomes = [change(task) for task in queryset]
        self.message_user(request, f"{sum(outcomes)} task(s) {done}.")
        if left := outcomes.count(False):
            self.message_user(
                request, f"{left} task(s) had ended already.", messages.WARNING
            )


def _cancel(task: TranscriptionTask) -> bool:
    return cancellation.cancel_task(task)


def _delete(task: TranscriptionTask) -> bool:
    retention.delete_task(task)
    return True


class AttemptInline(admin.TabularInline):  # type: ignore[type-arg]
    """The attempts below their callback."""

    model = CallbackAttempt
    extra = 0
    can_delete = False
    fields = ("number", "started_at", "duration_seconds", "http_status", "error_code")
    readonly_fields = fields

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Attempts come from deliverers."""
        return False


@admin.register(Callback)
class CallbackAdmin(ReadOnlyAdmin):
    """Callbacks: newest first, what became of them, and once more if wanted."""

    list_display = [
        "short_id",
        "event",
        "short_task",
        "owner",
        "state",
        "attempts",
        "answer",
        "next_attempt",
        "callback_age",
    ]
    list_filter: ClassVar[Any] = [
        "state",
        "event",
        "http_status",
        "error_code",
        "created_at",
    ]
    list_select_related = ["task", "owner"]
    list_per_page = 50
    show_full_result_count = False
    search_fields = ["public_id", "task__public_id", "owner__username"]
    search_help_text = "Event id, task id or owner"
    inlines = [AttemptInline]
    fields = [
        ("public_id", "event", "short_task"),
        ("owner", "url", "header_names"),
        ("state", "http_status", "error_code"),
        ("attempts", "failures", "losses"),
        ("created_at", "next_attempt_at", "dispatched_at", "ended_at"),
        ("lease_owner", "lease_expires_at"),
    ]
    readonly_fields = ["short_task", "header_names"]
    actions = ["deliver_again"]

    @admin.display(description="event id", ordering="id")
    def short_id(self, callback: Callback) -> str:
        """The first part of the id."""
        return str(callback.public_id)[:8]

    @admin.display(description="task")
    def short_task(self, callback: Callback) -> str:
        """A way to its task."""
        if callback.task is None:
            return "–"
        return format_html(
            '<a href="{}">{}</a>',
            reverse(
                "admin:transcription_transcriptiontask_change", args=[callback.task_id]
            ),
            str(callback.task.public_id)[:8],
        )

    @admin.display(description="headers of the client")
    def header_names(self, callback: Callback) -> str:
        """Without their values, which may be secrets."""
        return ", ".join(sorted(callback.headers)) or "–"

    @admin.display(description="last answer", ordering="http_status")
    def answer(self, callback: Callback) -> str:
        """Of the last attempt that ended."""
        return answer_of(callback) if callback.attempts else "–"

    @admin.display(description="next attempt", ordering="next_attempt_at")
    def next_attempt(self, callback: Callback) -> str:
        """When it is tried again, if it is."""
        return next_attempt(callback)

    @admin.display(description="age", ordering="created_at")
    def callback_age(self, callback: Callback) -> str:
        """Since the end of its task."""
        return age(callback.created_at)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A callback goes with its task or owner; alone it could not be sent again.

        Django asks on their pages too, and refuses to delete them without a yes.
        """
        page = request.resolver_match.url_name if request.resolver_match else None
        is_own = (page or "").startswith("transcription_callback_")
        return not is_own and super().has_delete_permission(request, obj)

    @admin.action(description="Deliver again", permissions=["change"])
    def deliver_again(self, request: HttpRequest, queryset: QuerySet[Callback]) -> None:
        """At once, and then by the schedule from its start."""
        begun = [
            callbacks.begin_again(pk) for pk in queryset.values_list("pk", flat=True)
        ]
        self.message_user(request, f"{sum(begun)} callback(s) to be delivered again.")
        if left := begun.count(False):
            self.message_user(
                request, f"{left} callback(s) are being delivered.", messages.WARNING
            )


@admin.register(CallbackSecret)
class CallbackSecretAdmin(ReadOnlyAdmin):
    """The secrets that sign callbacks: whose, since when, how long; never a whole one.

    Their owners see them in the API. To delete one ends it at once.
    """

    list_display = ["owner", "prefix", "created_at", "expires_at"]
    list_filter: ClassVar[Any] = ["expires_at"]
    list_select_related = ["owner"]
    search_fields = ["owner__username"]
    fields = ["owner", "prefix", "number", "created_at", "expires_at"]
    actions = ["replace"]

    @admin.action(
        description="Replace the secrets of the selected owners",
        permissions=["change"],
    )
    def replace(self, request: HttpRequest, queryset: QuerySet[CallbackSecret]) -> None:
        """Once for each owner, however many of their secrets are selected."""
        owners = set(queryset.order_by().values_list("owner_id", flat=True))
        refused = 0
        for owner_id in owners:
            try:
                callback_secrets.rotate(owner_id)
            except TooManySecretsError:
                refused += 1
        self.message_user(request, f"{len(owners) - refused} secret(s) replaced.")
        if refused:
            self.message_user(
                request,
                f"{refused} owner(s) have too many valid secrets.",
                messages.WARNING,
            )


@admin.register(WorkerSlot)
class WorkerSlotAdmin(ReadOnlyAdmin):
    """Inference processes: which model, which device, alive or not."""

    list_display = [
        "name",
        "model",
        "engine",
        "device",
        "compute_type",
        "state",
        "alive",
        "message",
        "running_jobs",
        "memory",
        "last_seen",
    ]
    list_filter = ["state", "model", "host"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[WorkerSlot]:
        """Ask once which slots live."""
        self._live = {slot.pk for slot in serving.live_slots()}
        return super().get_queryset(request)

    @admin.display(boolean=True)
    def alive(self, slot: WorkerSlot) -> bool:
        """Whether its heart beats."""
        return slot.pk in self._live

    @admin.display(ordering="memory_bytes")
    def memory(self, slot: WorkerSlot) -> str:
        """Resident memory."""
        return f"{slot.memory_bytes / 2**20:.0f} MiB"

    @admin.display(description="last seen", ordering="last_seen_at")
    def last_seen(self, slot: WorkerSlot) -> str:
        """How long ago."""
        return f"{age(slot.last_seen_at)} ago"

import uuid

import django.db.models.deletion
import django.db.models.functions.text
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    # A new database is made in one step; the steps stay for those that were made by them.
    replaces = [
        ("transcription", "0001_initial"),
        ("transcription", "0002_task_type_detect_language"),
        ("transcription", "0003_engine_labels"),
        ("transcription", "0004_transcript_part"),
        ("transcription", "0005_callbacks"),
        ("transcription", "0006_idempotency_key"),
        ("transcription", "0007_dispatcher_tick"),
        ("transcription", "0008_callback_secret"),
        ("transcription", "0009_task_callback_headers"),
        ("transcription", "0010_callback_address"),
        ("transcription", "0011_fill_callback_address"),
        ("transcription", "0012_callback_owner"),
        ("transcription", "0020_task_lists"),
        ("transcription", "0021_task_retried_at"),
        ("transcription", "0023_task_key_line"),
        ("transcription", "0024_fair_shares"),
        ("transcription", "0025_sentences_in_parts"),
        ("transcription", "0026_callback_request_id"),
        ("transcription", "0027_task_reuse"),
        ("transcription", "0028_task_media_expires"),
        ("transcription", "0029_task_notices"),
        ("transcription", "0030_task_audio_tracks"),
        ("transcription", "0031_slot_languages"),
        ("transcription", "0032_dispatcher_tick_failing"),
        ("transcription", "0033_task_samples"),
    ]

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="DispatcherTick",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                ("host", models.CharField(max_length=191, unique=True)),
                ("pid", models.PositiveIntegerField()),
                ("ticked_at", models.DateTimeField()),
                (
                    "failing",
                    models.CharField(db_default="", default="", max_length=255),
                ),
            ],
        ),
        migrations.CreateModel(
            name="TranscriptionTask",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                (
                    "public_id",
                    models.UUIDField(default=uuid.uuid4, editable=False, unique=True),
                ),
                ("dispatched_at", models.DateTimeField(blank=True, null=True)),
                (
                    "lease_token",
                    models.UUIDField(blank=True, editable=False, null=True),
                ),
                (
                    "lease_owner",
                    models.CharField(blank=True, editable=False, max_length=200),
                ),
                (
                    "lease_expires_at",
                    models.DateTimeField(blank=True, editable=False, null=True),
                ),
                ("request_id", models.CharField(blank=True, max_length=64)),
                (
                    "key_line",
                    models.BigIntegerField(
                        blank=True,
                        editable=False,
                        help_text="The line of keys whose quotas it counts for; see accounts.limits.",
                        null=True,
                    ),
                ),
                (
                    "charged_seconds",
                    models.FloatField(
                        blank=True,
                        editable=False,
                        help_text="Seconds of audio that were counted for that line.",
                        null=True,
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("preparing", "Preparing"),
                            ("queued", "Queued"),
                            ("processing", "Processing"),
                            ("completed", "Completed"),
                            ("failed", "Failed"),
                            ("cancelled", "Cancelled"),
                        ],
                        default="preparing",
                        editable=False,
                        max_length=10,
                    ),
                ),
                (
                    "priority",
                    models.CharField(
                        choices=[
                            ("high", "High"),
                            ("normal", "Normal"),
                            ("low", "Low"),
                        ],
                        default="normal",
                        max_length=6,
                    ),
                ),
                (
                    "task_type",
                    models.CharField(
                        choices=[
                            ("transcribe", "Transcribe"),
                            ("translate", "Translate"),
                            ("detect_language", "Detect Language"),
                        ],
                        default="transcribe",
                        max_length=15,
                    ),
                ),
                (
                    "engine",
                    models.CharField(
                        choices=[
                            ("faster-whisper", "faster-whisper"),
                            ("openai-whisper", "openai-whisper"),
                        ],
                        max_length=20,
                    ),
                ),
                (
                    "model",
                    models.CharField(
                        help_text="The model's name in the API.", max_length=100
                    ),
                ),
                (
                    "language",
                    models.CharField(
                        blank=True,
                        help_text="Empty: detected from the speech.",
                        max_length=10,
                    ),
                ),
                ("options", models.JSONField(blank=True, default=dict)),
                (
                    "platform",
                    models.CharField(
                        blank=True,
                        help_text="A free label of the client's.",
                        max_length=50,
                    ),
                ),
                (
                    "callback_url",
                    models.CharField(
                        blank=True,
                        help_text="Told when the task has ended.",
                        max_length=2048,
                    ),
                ),
                (
                    "callback_headers",
                    models.JSONField(
                        blank=True,
                        default=dict,
                        help_text="Sent along, beside our own.",
                    ),
                ),
                (
                    "reuse",
                    models.BooleanField(
                        default=False,
                        help_text="A finished result for the same media and options will do.",
                    ),
                ),
                (
                    "question_digest",
                    models.CharField(blank=True, editable=False, max_length=64),
                ),
                (
                    "source",
                    models.CharField(
                        choices=[("upload", "Upload"), ("link", "Link")],
                        default="upload",
                        max_length=6,
                    ),
                ),
                (
                    "file_name",
                    models.CharField(
                        blank=True,
                        help_text="The client's name for it: a label only.",
                        max_length=255,
                    ),
                ),
                ("file_url", models.CharField(blank=True, max_length=2048)),
                ("file_size_bytes", models.BigIntegerField(blank=True, null=True)),
                (
                    "media_sha256",
                    models.CharField(
                        blank=True,
                        help_text="Of the file; empty until it is here.",
                        max_length=64,
                    ),
                ),
                ("media_format", models.CharField(blank=True, max_length=50)),
                ("audio_codec", models.CharField(blank=True, max_length=50)),
                ("sample_rate", models.PositiveIntegerField(blank=True, null=True)),
                ("channels", models.PositiveSmallIntegerField(blank=True, null=True)),
                ("has_video", models.BooleanField(blank=True, null=True)),
                ("media_duration_seconds", models.FloatField(blank=True, null=True)),
                (
                    "audio_tracks",
                    models.JSONField(
                        blank=True,
                        default=list,
                        editable=False,
                        help_text="All that the media has, and which of them is transcribed.",
                    ),
                ),
                (
                    "samples_bytes",
                    models.BigIntegerField(
                        blank=True,
                        editable=False,
                        help_text="What its decoded audio takes on the media volume by now.",
                        null=True,
                    ),
                ),
                (
                    "media_expires_at",
                    models.DateTimeField(
                        blank=True,
                        help_text="Until when the upload of a task that failed or was cancelled stays.",
                        null=True,
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "retried_at",
                    models.DateTimeField(
                        blank=True,
                        help_text="When its client had it start again.",
                        null=True,
                    ),
                ),
                ("preparation_started_at", models.DateTimeField(blank=True, null=True)),
                ("queued_at", models.DateTimeField(blank=True, null=True)),
                ("started_at", models.DateTimeField(blank=True, null=True)),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
                (
                    "inference_seconds",
                    models.FloatField(
                        blank=True, help_text="The engine's own time.", null=True
                    ),
                ),
                (
                    "effective_priority",
                    models.CharField(
                        choices=[
                            ("high", "High"),
                            ("normal", "Normal"),
                            ("low", "Low"),
                        ],
                        default="normal",
                        max_length=6,
                    ),
                ),
                ("not_before", models.DateTimeField(blank=True, null=True)),
                (
                    "turn",
                    models.BigIntegerField(
                        default=0,
                        editable=False,
                        help_text="Its place in its lane: the least is next.",
                    ),
                ),
                (
                    "attempts",
                    models.PositiveSmallIntegerField(
                        default=0,
                        help_text="Starts of the present stage that were the task's own.",
                    ),
                ),
                (
                    "losses",
                    models.PositiveSmallIntegerField(
                        default=0, help_text="Workers that died with it."
                    ),
                ),
                ("cancel_requested_at", models.DateTimeField(blank=True, null=True)),
                (
                    "progress",
                    models.FloatField(
                        default=0.0, help_text="Share of the media done, 0-1."
                    ),
                ),
                ("progress_at", models.DateTimeField(blank=True, null=True)),
                ("detected_language", models.CharField(blank=True, max_length=10)),
                (
                    "notices",
                    models.JSONField(
                        blank=True,
                        default=list,
                        editable=False,
                        help_text="What a reader of the result must know; see transcription.notices.",
                    ),
                ),
                (
                    "reused_from",
                    models.UUIDField(
                        blank=True,
                        help_text="The task whose result this one got; it may be deleted since.",
                        null=True,
                    ),
                ),
                ("error_code", models.CharField(blank=True, max_length=50)),
                ("error_message", models.TextField(blank=True)),
                (
                    "error_parts",
                    models.JSONField(blank=True, editable=False, null=True),
                ),
                (
                    "has_result",
                    models.GeneratedField(
                        db_persist=True,
                        expression=models.Case(
                            models.When(status="completed", then=1), default=0
                        ),
                        output_field=models.PositiveSmallIntegerField(),
                    ),
                ),
                (
                    "has_error",
                    models.GeneratedField(
                        db_persist=True,
                        expression=models.Case(
                            models.When(status="failed", then=1), default=0
                        ),
                        output_field=models.PositiveSmallIntegerField(),
                    ),
                ),
                (
                    "spoken_language",
                    models.GeneratedField(
                        db_persist=True,
                        expression=models.Case(
                            models.When(
                                detected_language="", then=models.F("language")
                            ),
                            default=models.F("detected_language"),
                        ),
                        output_field=models.CharField(max_length=10),
                    ),
                ),
                (
                    "lane",
                    models.GeneratedField(
                        db_persist=True,
                        expression=models.Case(
                            models.When(
                                models.Q(
                                    ("lease_token__isnull", False),
                                    models.Q(
                                        ("dispatched_at", None),
                                        ("not_before__isnull", False),
                                    ),
                                    _connector="OR",
                                ),
                                then=None,
                            ),
                            models.When(
                                status="preparing",
                                then=django.db.models.functions.text.Concat(
                                    models.Value("prepare."),
                                    models.F("effective_priority"),
                                ),
                            ),
                            models.When(
                                status="queued",
                                then=django.db.models.functions.text.Concat(
                                    models.F("model"),
                                    models.Value("."),
                                    models.F("effective_priority"),
                                ),
                            ),
                            default=None,
                        ),
                        output_field=models.CharField(max_length=110, null=True),
                    ),
                ),
                (
                    "owner",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="tasks",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="Callback",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                (
                    "public_id",
                    models.UUIDField(default=uuid.uuid4, editable=False, unique=True),
                ),
                ("dispatched_at", models.DateTimeField(blank=True, null=True)),
                (
                    "lease_token",
                    models.UUIDField(blank=True, editable=False, null=True),
                ),
                (
                    "lease_owner",
                    models.CharField(blank=True, editable=False, max_length=200),
                ),
                (
                    "lease_expires_at",
                    models.DateTimeField(blank=True, editable=False, null=True),
                ),
                ("url", models.CharField(max_length=2048)),
                ("headers", models.JSONField(blank=True, default=dict)),
                (
                    "event",
                    models.CharField(
                        choices=[
                            ("task.completed", "task.completed"),
                            ("task.failed", "task.failed"),
                            ("task.cancelled", "task.cancelled"),
                            ("callback.test", "callback.test"),
                        ],
                        max_length=20,
                    ),
                ),
                ("request_id", models.CharField(blank=True, max_length=64)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("pending", "Pending"),
                            ("delivering", "Delivering"),
                            ("delivered", "Delivered"),
                            ("undeliverable", "Undeliverable"),
                        ],
                        default="pending",
                        editable=False,
                        max_length=13,
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "ended_at",
                    models.DateTimeField(
                        blank=True,
                        help_text="When it was delivered, or given up.",
                        null=True,
                    ),
                ),
                ("next_attempt_at", models.DateTimeField()),
                (
                    "attempts",
                    models.PositiveIntegerField(default=0, help_text="Of all times."),
                ),
                (
                    "failures",
                    models.PositiveSmallIntegerField(
                        default=0,
                        help_text="Attempts that failed since it last began: its schedule.",
                    ),
                ),
                (
                    "losses",
                    models.PositiveSmallIntegerField(
                        default=0,
                        help_text="Processes that died with it since it last began.",
                    ),
                ),
                (
                    "http_status",
                    models.PositiveSmallIntegerField(blank=True, null=True),
                ),
                ("error_code", models.CharField(blank=True, max_length=50)),
                (
                    "owner",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="callbacks",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "task",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="callbacks",
                        to="transcription.transcriptiontask",
                    ),
                ),
            ],
            options={
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="Transcript",
            fields=[
                (
                    "task",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="transcript",
                        serialize=False,
                        to="transcription.transcriptiontask",
                    ),
                ),
                ("text", models.TextField()),
                ("language", models.CharField(max_length=10)),
                ("language_probability", models.FloatField(null=True)),
                ("language_probabilities", models.JSONField(default=dict)),
                ("duration_seconds", models.FloatField()),
                ("duration_after_vad_seconds", models.FloatField(null=True)),
                ("segments", models.JSONField(default=list)),
                (
                    "options",
                    models.JSONField(
                        default=dict, help_text="As the engine used them."
                    ),
                ),
                (
                    "model",
                    models.JSONField(
                        default=dict,
                        help_text="Name, revision, engine, device, compute type.",
                    ),
                ),
                (
                    "notices",
                    models.JSONField(
                        default=list, help_text="What a reader must know."
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
            ],
        ),
        migrations.CreateModel(
            name="IdempotencyKey",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                ("key_digest", models.CharField(max_length=64)),
                ("request_digest", models.CharField(max_length=64)),
                ("created_at", models.DateTimeField()),
                (
                    "owner",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="idempotency_keys",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "task",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="idempotency_keys",
                        to="transcription.transcriptiontask",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="TranscriptPart",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                (
                    "number",
                    models.PositiveIntegerField(
                        help_text="From 0, in the order of the media."
                    ),
                ),
                ("segments", models.JSONField(default=list)),
                (
                    "task",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="parts",
                        to="transcription.transcriptiontask",
                    ),
                ),
            ],
            options={
                "ordering": ["number"],
            },
        ),
        migrations.CreateModel(
            name="WorkerSlot",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                ("name", models.CharField(max_length=100, unique=True)),
                ("host", models.CharField(max_length=255)),
                ("pid", models.PositiveIntegerField()),
                (
                    "boot_id",
                    models.UUIDField(help_text="New at every start of the process."),
                ),
                ("device", models.CharField(max_length=50)),
                ("compute_type", models.CharField(blank=True, max_length=20)),
                (
                    "engine",
                    models.CharField(
                        choices=[
                            ("faster-whisper", "faster-whisper"),
                            ("openai-whisper", "openai-whisper"),
                        ],
                        max_length=20,
                    ),
                ),
                ("model", models.CharField(max_length=100)),
                ("model_revision", models.CharField(blank=True, max_length=100)),
                (
                    "notice",
                    models.CharField(
                        blank=True,
                        help_text="What users of this model must know.",
                        max_length=200,
                    ),
                ),
                (
                    "languages",
                    models.JSONField(
                        blank=True,
                        default=list,
                        help_text="Codes of the languages that the model knows, once it is loaded.",
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("loading", "Loading"),
                            ("ready", "Ready"),
                            ("draining", "Draining"),
                            ("stopped", "Stopped"),
                            ("failed", "Failed"),
                        ],
                        default="loading",
                        max_length=8,
                    ),
                ),
                (
                    "message",
                    models.TextField(
                        blank=True, help_text="Why it failed, for people."
                    ),
                ),
                (
                    "message_parts",
                    models.JSONField(blank=True, editable=False, null=True),
                ),
                ("running_jobs", models.PositiveSmallIntegerField(default=0)),
                ("memory_bytes", models.BigIntegerField(default=0)),
                ("started_at", models.DateTimeField()),
                ("last_seen_at", models.DateTimeField()),
            ],
            options={
                "ordering": ["name"],
                "indexes": [models.Index(fields=["model"], name="slot_model")],
            },
        ),
        migrations.CreateModel(
            name="CallbackAttempt",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                ("number", models.PositiveIntegerField(help_text="From 1.")),
                ("started_at", models.DateTimeField()),
                ("duration_seconds", models.FloatField(blank=True, null=True)),
                (
                    "http_status",
                    models.PositiveSmallIntegerField(
                        blank=True, help_text="What the receiver answered.", null=True
                    ),
                ),
                (
                    "error_code",
                    models.CharField(
                        blank=True, help_text="Why there was no answer.", max_length=50
                    ),
                ),
                (
                    "callback",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="history",
                        to="transcription.callback",
                    ),
                ),
            ],
            options={
                "ordering": ["number"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("callback", "number"), name="callback_attempt_number"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="CallbackSecret",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                (
                    "number",
                    models.PositiveIntegerField(
                        help_text="From 1; the highest is the newest."
                    ),
                ),
                ("secret", models.CharField(editable=False, max_length=100)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "expires_at",
                    models.DateTimeField(
                        blank=True,
                        help_text="Set when a newer one was made.",
                        null=True,
                    ),
                ),
                (
                    "owner",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="callback_secrets",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ["-number"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("owner", "number"), name="callback_secret_number"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="OwnerInLane",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                ("lane", models.CharField(max_length=110)),
                (
                    "started_turn",
                    models.BigIntegerField(
                        default=0,
                        help_text="The greatest turn of this owner's tasks that started.",
                    ),
                ),
                (
                    "owner",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["lane", "started_turn"], name="lane_clock")
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("lane", "owner"), name="owner_in_lane"
                    )
                ],
            },
        ),
        migrations.AddIndex(
            model_name="transcriptiontask",
            index=models.Index(
                fields=["owner", "created_at", "id"], name="task_list_newest"
            ),
        ),
        migrations.AddIndex(
            model_name="transcriptiontask",
            index=models.Index(
                fields=["owner", "status", "created_at", "id"], name="task_list_status"
            ),
        ),
        migrations.AddIndex(
            model_name="transcriptiontask",
            index=models.Index(
                fields=["owner", "priority", "created_at", "id"],
                name="task_list_priority",
            ),
        ),
        migrations.AddIndex(
            model_name="transcriptiontask",
            index=models.Index(
                fields=["owner", "task_type", "created_at", "id"], name="task_list_type"
            ),
        ),
        migrations.AddIndex(
            model_name="transcriptiontask",
            index=models.Index(
                fields=["owner", "spoken_language", "created_at", "id"],
                name="task_list_language",
            ),
        ),
        migrations.AddIndex(
            model_name="transcriptiontask",
            index=models.Index(
                fields=["owner", "engine", "created_at", "id"], name="task_list_engine"
            ),
        ),
        migrations.AddIndex(
            model_name="transcriptiontask",
            index=models.Index(
                fields=["owner", "model", "created_at", "id"], name="task_list_model"
            ),
        ),
        migrations.AddIndex(
            model_name="transcriptiontask",
            index=models.Index(
                fields=["owner", "platform", "created_at", "id"],
                name="task_list_platform",
            ),
        ),
        migrations.AddIndex(
            model_name="transcriptiontask",
            index=models.Index(
                fields=["owner", "has_result", "created_at", "id"],
                name="task_list_result",
            ),
        ),
        migrations.AddIndex(
            model_name="transcriptiontask",
            index=models.Index(
                fields=["owner", "has_error", "created_at", "id"],
                name="task_list_error",
            ),
        ),
        migrations.AddIndex(
            model_name="transcriptiontask",
            index=models.Index(
                fields=["owner", "finished_at", "id"], name="task_list_ended"
            ),
        ),
        migrations.AddIndex(
            model_name="transcriptiontask",
            index=models.Index(fields=["owner", "samples_bytes"], name="task_samples"),
        ),
        migrations.AddIndex(
            model_name="transcriptiontask",
            index=models.Index(
                fields=["owner", "media_sha256"], name="task_same_media"
            ),
        ),
        migrations.AddIndex(
            model_name="transcriptiontask",
            index=models.Index(
                fields=["model", "status", "effective_priority", "id"],
                name="task_of_model",
            ),
        ),
        migrations.AddIndex(
            model_name="transcriptiontask",
            index=models.Index(fields=["key_line", "status"], name="task_of_key_line"),
        ),
        migrations.AddIndex(
            model_name="transcriptiontask",
            index=models.Index(fields=["lane", "turn", "id"], name="task_turn"),
        ),
        migrations.AddIndex(
            model_name="transcriptiontask",
            index=models.Index(
                fields=["lane", "owner", "turn"], name="task_turn_of_owner"
            ),
        ),
        migrations.AddIndex(
            model_name="transcriptiontask",
            index=models.Index(fields=["status", "dispatched_at"], name="task_waiting"),
        ),
        migrations.AddIndex(
            model_name="transcriptiontask",
            index=models.Index(fields=["lease_expires_at"], name="task_leased"),
        ),
        migrations.AddIndex(
            model_name="transcriptiontask",
            index=models.Index(fields=["media_expires_at"], name="task_media_expires"),
        ),
        migrations.AddIndex(
            model_name="transcriptiontask",
            index=models.Index(fields=["lease_token"], name="task_lease_token"),
        ),
        migrations.AddConstraint(
            model_name="transcriptiontask",
            constraint=models.CheckConstraint(
                condition=models.Q(("progress__gte", 0), ("progress__lte", 1)),
                name="task_progress_is_a_share",
            ),
        ),
        migrations.AddIndex(
            model_name="idempotencykey",
            index=models.Index(fields=["created_at"], name="idempotency_oldest"),
        ),
        migrations.AddConstraint(
            model_name="idempotencykey",
            constraint=models.UniqueConstraint(
                fields=("owner", "key_digest"), name="idempotency_key"
            ),
        ),
        migrations.AddIndex(
            model_name="callback",
            index=models.Index(fields=["owner", "-id"], name="callback_owner_newest"),
        ),
        migrations.AddIndex(
            model_name="callback",
            index=models.Index(
                fields=["owner", "state", "-id"], name="callback_owner_state"
            ),
        ),
        migrations.AddIndex(
            model_name="callback",
            index=models.Index(
                fields=["state", "next_attempt_at"], name="callback_due"
            ),
        ),
        migrations.AddIndex(
            model_name="callback",
            index=models.Index(fields=["lease_expires_at"], name="callback_leased"),
        ),
        migrations.AddConstraint(
            model_name="callback",
            constraint=models.UniqueConstraint(
                fields=("task", "event"), name="callback_once_for_an_event"
            ),
        ),
        migrations.AddConstraint(
            model_name="transcriptpart",
            constraint=models.UniqueConstraint(
                fields=("task", "number"), name="part_number"
            ),
        ),
    ]

"""What a callback says: the task as the API shows it, in an event's frame."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db.models.functions import Length
from django.utils.translation import gettext_lazy as _
from django.utils.translation import override
from drf_spectacular.utils import (
    OpenApiCallback,
    OpenApiResponse,
    extend_schema,
    extend_schema_field,
)
from rest_framework import serializers
from rest_framework.renderers import JSONRenderer

from transcription.api import examples
from transcription.api.serializers import ResultSerializer, TaskDetailSerializer
from transcription.models import Callback, Transcript, TranscriptionTask


class EventTaskSerializer(TaskDetailSerializer):
    """The task of an event, with its result if that is short."""

    result = serializers.SerializerMethodField(
        help_text=_(
            "As the address in `links.result` has it; null if there is none, or if it "
            "is longer than the server sends along."
        )
    )

    class Meta(TaskDetailSerializer.Meta):
        fields = [*TaskDetailSerializer.Meta.fields, "result"]
        read_only_fields = fields

    def get_links(self, task: TranscriptionTask) -> dict[str, str]:
        """Addresses below WHISPERHUB_PUBLIC_URL: nobody asked, so no host is known."""
        links = super().get_links(task)
        return {name: f"{settings.PUBLIC_URL}{path}" for name, path in links.items()}

    @extend_schema_field(ResultSerializer(allow_null=True))
    def get_result(self, task: TranscriptionTask) -> dict[str, Any] | None:
        """The result, if its JSON is within the limit."""
        limit = settings.CALLBACK_RESULT_BYTES
        transcript = (
            # The transcript of a day is not loaded only to find it too long.
            Transcript.objects.annotate(text_length=Length("text"))
            .filter(task=task, text_length__lte=limit)
            .first()
        )
        if transcript is None:
            return None
        transcript.task = task
        result: dict[str, Any] = ResultSerializer(transcript).data
        return result if len(JSONRenderer().render(result)) <= limit else None


TASK_EVENTS = [event.value for event in Callback.Event if event != Callback.Event.TEST]


class EventSerializer(serializers.Serializer[Callback]):
    """A task has ended."""

    type = serializers.ChoiceField(source="event", choices=TASK_EVENTS)
    timestamp = serializers.DateTimeField(
        source="task.finished_at", help_text=_("When it happened.")
    )
    data = EventTaskSerializer(source="task")  # type: ignore[assignment]


class TestDataSerializer(serializers.Serializer[Callback]):
    """What a test event says."""

    message = serializers.CharField()


class TestEventSerializer(serializers.Serializer[Callback]):
    """Somebody tries whether events arrive."""

    type = serializers.ChoiceField(source="event", choices=[Callback.Event.TEST.value])
    timestamp = serializers.DateTimeField(
        source="created_at", help_text=_("When it was asked for.")
    )
    data = serializers.SerializerMethodField()  # type: ignore[assignment]

    @extend_schema_field(TestDataSerializer)
    def get_data(self, callback: Callback) -> dict[str, str]:
        """A sentence for people."""
        return {"message": "This is a test event. No task belongs to it."}


def event_body(callback: Callback) -> bytes:
    """The document that a receiver gets, from what the database says now."""
    kind = EventSerializer if callback.task else TestEventSerializer
    # Receivers are programs, and nobody has asked for a language.
    with override("en"):
        body: bytes = JSONRenderer().render(kind(callback).data)
    return body


SIGNED = (
    "The header `webhook-id` is the event's id, the same each time: an event may "
    "arrive twice. `webhook-timestamp` is the moment of this attempt, in seconds since "
    "1970. "
    "`webhook-signature` proves that the event comes from here, as Standard Webhooks "
    "has it; `/api/v1/callbacks/secret/` shows the secret for checking it."
)

TEST_EVENT = OpenApiCallback(
    name="testEvent",
    path="{$request.body#/callback_url}",
    decorator=extend_schema(
        summary="A test event",
        description=f"Sent to `callback_url`, once. {SIGNED}",
        request={"application/json": TestEventSerializer},
        examples=[examples.tells("A test event", examples.TEST_EVENT)],
        responses={"2XX": OpenApiResponse(description="The event is taken.")},
    ),
)
TASK_ENDED = OpenApiCallback(
    name="taskEnded",
    path="{$request.body#/callback_url}",
    decorator=extend_schema(
        summary="A task has ended",
        description=(
            "Sent to `callback_url`. Any 2xx answer within the server's time limit "
            "takes the event; 410 refuses it for good. After any other answer, and "
            f"without one, it is sent again, for some days. {SIGNED}"
        ),
        request={"application/json": EventSerializer},
        examples=[examples.tells("A transcript", examples.TASK_EVENT)],
        responses={"2XX": OpenApiResponse(description="The event is taken.")},
    ),
)

"""What a callback says, as the OpenAPI document describes it.

The events themselves are made by `transcription.documents.events`.
"""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import OpenApiCallback, OpenApiResponse, extend_schema
from rest_framework import serializers

from transcription.api import examples
from transcription.api.serializers import ResultSerializer, TaskDetailSerializer
from transcription.models import Callback


class EventTaskSerializer(TaskDetailSerializer):
    """The task of an event, with its result if that is short."""

    links = serializers.DictField(  # type: ignore[assignment]
        child=serializers.CharField(),
        read_only=True,
        help_text=_(
            "Addresses below WHISPERHUB_PUBLIC_URL: nobody asked, so no host is known."
        ),
    )
    result = ResultSerializer(
        read_only=True,
        allow_null=True,
        help_text=_(
            "As the address in `links.result` has it; null if there is none, or if it "
            "is longer than the server sends along."
        ),
    )

    class Meta(TaskDetailSerializer.Meta):
        fields = [*TaskDetailSerializer.Meta.fields, "result"]
        read_only_fields = fields


TASK_EVENTS = [event.value for event in Callback.Event if event != Callback.Event.TEST]


class EventSerializer(serializers.Serializer[Any]):
    """A task has ended."""

    type = serializers.ChoiceField(choices=TASK_EVENTS)
    timestamp = serializers.DateTimeField(help_text=_("When it happened."))
    data = EventTaskSerializer()  # type: ignore[assignment]


class TestDataSerializer(serializers.Serializer[Any]):
    """What a test event says."""

    message = serializers.CharField()


class TestEventSerializer(serializers.Serializer[Any]):
    """Somebody tries whether events arrive."""

    type = serializers.ChoiceField(choices=[Callback.Event.TEST.value])
    timestamp = serializers.DateTimeField(help_text=_("When it was asked for."))
    data = TestDataSerializer(read_only=True)  # type: ignore[assignment]


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

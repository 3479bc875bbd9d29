"""Documents have exactly the members that their serializers describe, in that order."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test.utils import override_script_prefix
from django.utils.translation import override
from jsonschema import Draft202012Validator
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.reverse import reverse
from rest_framework.serializers import BaseSerializer, ListSerializer, Serializer

from tests.support.factories import (
    AttemptFactory,
    CallbackFactory,
    CallbackSecretFactory,
    SlotFactory,
    TaskFactory,
    TranscriptFactory,
    UserFactory,
    segment,
)
from tests.support.openapi import json_schema, read_document
from transcription.api import callbacks as descriptions
from transcription.api.callback_serializers import (
    CallbackDetailSerializer,
    CallbackSecretSerializer,
    CallbackSerializer,
)
from transcription.api.serializers import (
    LanguageDetectionSerializer,
    ModelListSerializer,
    ModelUsedSerializer,
    PendingResultSerializer,
    ResultSerializer,
    SegmentSerializer,
    TaskDetailSerializer,
    TaskSerializer,
    WordSerializer,
)
from transcription.documents.callbacks import (
    callback_detail_document,
    callback_document,
    secret_document,
)
from transcription.documents.encoding import iso_timestamp, json_bytes
from transcription.documents.events import event_body
from transcription.documents.links import callback_links, task_links
from transcription.documents.results import (
    language_detection_document,
    result_document,
)
from transcription.documents.served_models import model_list_document
from transcription.documents.tasks import (
    Outlook,
    pending_result_document,
    task_detail_document,
    task_document,
)
from transcription.models import Callback, TranscriptionTask
from transcription.notices import Notice, NoticeCode
from transcription.services.callback_secrets import secrets_of
from transcription.services.outlook import outlook_of
from transcription.services.serving import served_models
from whisperhub.api.addresses import site_of
from whisperhub.sentences import Sentence

pytestmark = pytest.mark.django_db

SITE = "https://speech.example.org"
STORED_AS_JSON = (ModelUsedSerializer, SegmentSerializer, WordSerializer)
STATES = [
    "prepared",
    "leased",
    "queued",
    "processing",
    "completed",
    "failed",
    "cancelled",
]
ENDED = ["completed", "failed", "cancelled"]
NOTICE = Notice(
    NoticeCode.AUDIO_TRACK_CHOSEN, Sentence("Track {track}.", track=1), {"track": 1}
)


@pytest.fixture(scope="session")
def description() -> dict[str, Any]:
    """The OpenAPI document, once it is read."""
    return {}


@pytest.fixture
def check(client, description):
    """Compares a document with what its serializer and the OpenAPI document say."""

    def compare(serializer: type[Serializer[Any]], document: Any) -> None:
        compare_members(serializer(), document)
        if not description:
            description.update(read_document(client))
        name = serializer.__name__.removesuffix("Serializer")
        schema = {"$ref": f"#/components/schemas/{name}"}
        validator = Draft202012Validator(json_schema(schema, description))
        assert [error.message for error in validator.iter_errors(document)] == []

    return compare


def compare_members(described: Any, value: Any) -> None:
    """Look for the members that a serializer describes, in their order, and no others.

    In what lies inside them as well.
    """
    if isinstance(described, ListSerializer):
        for item in value:
            compare_members(described.child, item)
        return
    assert isinstance(described, Serializer)
    fields: Any = described.fields
    optional = {
        name
        for name, field in fields.items()
        if not field.required and not field.read_only
    }
    expected = [name for name in fields if name in value or name not in optional]
    if isinstance(described, STORED_AS_JSON):
        # The database decides on the order.
        assert sorted(value) == sorted(expected)
    else:
        assert list(value) == expected
    for name in value:
        if isinstance(fields[name], BaseSerializer) and value[name] is not None:
            compare_members(fields[name], value[name])


def task_in(state: str, **values: Any) -> TranscriptionTask:
    """A task with a value in as many columns as it may have."""
    made = TaskFactory(
        **{state: True},
        reused_from=uuid.uuid4(),
        retried_at=datetime.now(UTC),
        notices=[NOTICE.as_dict()],
        callback_url="http://127.0.0.1:9/hook",
        callback_headers={"X-Tenant": "b", "Authorization": "a"},
        audio_tracks=[
            {
                "index": 0,
                "language": "eng",
                "title": "",
                "codec": "aac",
                "channels": None,
                "default": True,
                "taken": True,
            }
        ],
        **values,
    )
    return TranscriptionTask.objects.get(pk=made.pk)


# --- What is described ---------------------------------------------------------------


@pytest.mark.parametrize("state", STATES)
def test_a_task_is_as_described_in_each_state(check, state):
    task = task_in(state)

    check(TaskSerializer, task_document(task, site=SITE))
    check(TaskDetailSerializer, task_detail_document(task, Outlook(), site=SITE))
    check(TaskDetailSerializer, task_detail_document(task, outlook_of(task), site=SITE))


@pytest.mark.parametrize("state", STATES)
def test_an_unfinished_result_is_as_described(check, state):
    task = task_in(state)
    task.parts.create(number=0, segments=[segment(0, 0.0, 2.5, " We meet.")])

    document = pending_result_document(task)

    check(PendingResultSerializer, document)
    assert len(document["segments"]) == (state == "processing")


@pytest.mark.parametrize("language", ["en", ""])
def test_a_result_is_as_described(check, language):
    word = {"word": " We", "start": 0.0, "end": 0.2, "probability": 0.9}
    with_words = {**segment(0, 0.0, 2.5, " We meet."), "words": [word]}
    of_an_earlier_release = segment(1, 2.5, 4.0, " Peter plays.")
    del of_an_earlier_release["language"]
    transcript = TranscriptFactory(
        language=language,
        language_probability=0.98 if language else None,
        segments=[with_words, of_an_earlier_release],
        task__notices=[NOTICE.as_dict()],
    )

    weighed = result_document(transcript, with_language_probabilities=True)
    check(ResultSerializer, weighed)
    assert weighed["language_probabilities"] == {"en": 0.98, "es": 0.02}
    del weighed["language_probabilities"]
    assert weighed == result_document(transcript)
    check(LanguageDetectionSerializer, language_detection_document(transcript))


@pytest.mark.parametrize("state", ["delivering", "later", "delivered", "undeliverable"])
def test_a_callback_is_as_described_in_each_state(check, state):
    callback = CallbackFactory(**{state: True})
    AttemptFactory(callback=callback)
    AttemptFactory(callback=callback, number=2, duration_seconds=0.2, http_status=500)

    document = callback_detail_document(callback, site=SITE)

    check(CallbackDetailSerializer, document)
    check(CallbackSerializer, callback_document(callback, site=SITE))
    assert [attempt["number"] for attempt in document["attempts"]] == [1, 2]
    assert (document["next_attempt_at"] is None) == (state != "later")


def test_a_test_callback_is_as_described(check):
    callback = CallbackFactory(test=True)

    document = callback_document(callback, site=SITE)

    check(CallbackSerializer, document)
    assert document["task"] is None


@pytest.mark.parametrize("state", ENDED)
def test_an_event_is_as_described(check, state):
    callback = CallbackFactory(task=task_in(state))

    check(descriptions.EventSerializer, json.loads(event_body(callback)))


def test_a_test_event_is_as_described(check):
    check(
        descriptions.TestEventSerializer,
        json.loads(event_body(CallbackFactory(test=True))),
    )


def test_secrets_are_as_described(check):
    owner = UserFactory()
    CallbackSecretFactory(owner=owner, number=1, former=True)
    newest = CallbackSecretFactory(owner=owner, number=2)

    document = secret_document(secrets_of(owner.pk))

    check(CallbackSecretSerializer, document)
    assert document["secret"] == newest.secret
    assert len(document["former"]) == 1


def test_the_list_of_models_is_as_described(check):
    SlotFactory(demo=True, languages=["en", "zh"])
    SlotFactory(model="broken", state="failed", message="No such file.")

    document = model_list_document(served_models())

    check(ModelListSerializer, document)
    assert [model["name"] for model in document["results"]] == ["broken", "demo"]


@pytest.mark.parametrize("where", [(), ("media",), ("links",), ("audio_tracks", 0)])
def test_the_comparison_finds_what_is_too_much_and_what_is_missing(where):
    document = task_document(task_in("queued"), site=SITE)
    compare_members(TaskSerializer(), document)
    place: Any = document
    for step in where:
        place = place[step]

    first = next(iter(place))
    for changed in (
        {**place, "more": 1},
        {name: value for name, value in place.items() if name != first},
        dict(reversed(place.items())),
    ):
        kept = dict(place)
        place.clear()
        place.update(changed)
        with pytest.raises(AssertionError):
            compare_members(TaskSerializer(), document)
        place.clear()
        place.update(kept)


# --- What they have in common --------------------------------------------------------


def test_values_of_a_task_are_those_of_its_row():
    """What stands in a document under the name of a column is what is in that."""
    task = task_in("completed")

    document = task_document(task, site=SITE)

    columns = {field.name for field in TranscriptionTask._meta.concrete_fields}
    named = columns & set(document) - {"id", "notices", "progress"}
    assert len(named) > 20
    for name in named:
        value = getattr(task, name)
        if isinstance(value, datetime):
            value = iso_timestamp(value)
        elif isinstance(value, uuid.UUID):
            value = str(value)
        assert document[name] == value, name


@pytest.mark.parametrize("prefix", ["/", "/speech/", "/a b/"])
def test_links_are_those_of_the_url_configuration(rf, prefix):
    public_id = uuid.uuid4()
    request = Request(rf.get("/", headers={"Host": "testserver:8000"}))

    def address(name: str) -> str:
        return reverse(name, kwargs={"public_id": public_id}, request=request)

    with override_script_prefix(prefix):
        site = site_of(request)

        assert task_links(public_id, site=site) == {
            "self": address("task-detail"),
            "result": address("task-result"),
            "subtitles": address("task-subtitles"),
        }
        assert callback_links(public_id, site=site) == {
            "self": address("callback-detail"),
            "replay": address("callback-replay"),
        }


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2026, 3, 1, 12, 0, 0, 7, tzinfo=UTC),
        datetime(2026, 3, 1, 12, tzinfo=UTC),
    ],
)
def test_moments_have_the_format_of_the_settings(moment):
    written = django_settings.REST_FRAMEWORK["DATETIME_FORMAT"]

    assert iso_timestamp(moment) == moment.strftime(written)
    elsewhere = moment.astimezone(timezone(timedelta(hours=8)))
    assert iso_timestamp(elsewhere) == iso_timestamp(moment)
    assert iso_timestamp(None) is None


def test_bytes_are_those_of_the_apis_renderer():
    document = {"text": "中文 \u2028\u2029 \"'<é>", "share": 0.1, "none": None, "a": []}

    assert json_bytes(document) == JSONRenderer().render(document)
    with pytest.raises(ValueError, match="JSON compliant"):
        json_bytes({"share": float("nan")})


def test_sentences_are_in_the_language_of_the_thread():
    task = task_in("failed")

    with override("zh-hans"):
        chinese = task_document(task, site=SITE)["error"]
        body = json.loads(event_body(CallbackFactory(task=task)))

    english = task_document(task, site=SITE)["error"]
    assert chinese["code"] == english["code"] == "invalid_media"
    assert not chinese["message"].isascii()
    assert english["message"].isascii()
    assert body["data"]["error"] == english


def test_an_event_reads_the_result_alone(django_assert_num_queries):
    callback = Callback.objects.select_related("task").get(pk=CallbackFactory().pk)

    with django_assert_num_queries(1):
        event_body(callback)

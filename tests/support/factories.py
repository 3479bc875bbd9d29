"""Valid rows with sensible defaults; a test spells out only what it is about."""

from __future__ import annotations

import uuid
from base64 import b64encode
from datetime import timedelta
from typing import Any

import factory
from django.contrib.auth.models import Permission
from django.utils import timezone
from factory.builder import DeclarationSet

from accounts.models import (
    KEY_MARK,
    PREFIX_LENGTH,
    ApiKey,
    QuotaAccount,
    User,
    digest_of,
)
from transcription.engines.spec import DEFAULT_ENGINE
from transcription.models import (
    Callback,
    CallbackAttempt,
    CallbackSecret,
    Transcript,
    TranscriptionTask,
    WorkerSlot,
)

Status = TranscriptionTask.Status

# For each trait that is not given, factory_boy raises and catches an error which
# describes all of them: a tenth of what rows cost here.
DeclarationSet.__repr__ = object.__repr__


def ago(seconds: float) -> Any:
    """A lazy moment in the past."""
    return factory.LazyFunction(lambda: timezone.now() - timedelta(seconds=seconds))


class UserFactory(factory.django.DjangoModelFactory):
    """A person without rights in the admin; `operator=True` has all."""

    class Meta:
        model = User
        skip_postgeneration_save = True

    class Params:
        operator = factory.Trait(is_staff=True, is_superuser=True)

    username = factory.Sequence("user{}".format)
    email = factory.LazyAttribute("{0.username}@example.org".format)

    @factory.post_generation  # type: ignore[untyped-decorator]
    def permissions(self, create: bool, names: Any, **_others: Any) -> None:
        """Django's permissions, by code name."""
        if names:
            found = Permission.objects.filter(codename__in=names)
            self.user_permissions.set(found)


class QuotaAccountFactory(factory.django.DjangoModelFactory):
    """The account of a key that is deleted, or of one that is given."""

    class Meta:
        model = QuotaAccount

    owner = factory.SubFactory(UserFactory)


class ApiKeyFactory(factory.django.DjangoModelFactory):
    """A usable key; its secret is the attribute `secret` of the row object."""

    class Meta:
        model = ApiKey

    class Params:
        expired = factory.Trait(expires_at=ago(1))
        revoked = factory.Trait(revoked_at=ago(1))
        all_scopes = factory.Trait(scope="read write admin")

    owner = factory.SubFactory(UserFactory)
    quota_account = factory.SubFactory(
        QuotaAccountFactory, owner=factory.SelfAttribute("..owner")
    )
    name = "tests"

    @classmethod
    def _create(cls, model_class: Any, *args: Any, **kwargs: Any) -> ApiKey:
        secret = kwargs.pop("secret", None) or f"{KEY_MARK}{uuid.uuid4().hex}"
        key: ApiKey = super()._create(
            model_class,
            *args,
            prefix=secret[:PREFIX_LENGTH],
            digest=digest_of(secret),
            **kwargs,
        )
        key.secret = secret  # type: ignore[attr-defined]
        return key


class TaskFactory(factory.django.DjangoModelFactory):
    """A task whose media waits to be prepared; the traits are its later states."""

    class Meta:
        model = TranscriptionTask
        skip_postgeneration_save = True

    class Params:
        dispatched = factory.Trait(dispatched_at=ago(5))
        leased = factory.Trait(
            lease_token=factory.LazyFunction(uuid.uuid4),
            lease_owner="media@tests/1",
            lease_expires_at=ago(-60),
            preparation_started_at=ago(8),
            attempts=1,
        )
        expired_lease = factory.Trait(leased=True, lease_expires_at=ago(1))
        prepared = factory.Trait(
            preparation_started_at=ago(8),
            queued_at=ago(6),
            media_format="wav",
            audio_codec="pcm_s16le",
            sample_rate=16_000,
            channels=1,
            has_video=False,
            media_duration_seconds=10.0,
        )
        queued = factory.Trait(prepared=True, status=Status.QUEUED)
        processing = factory.Trait(
            prepared=True,
            status=Status.PROCESSING,
            started_at=ago(4),
            lease_token=factory.LazyFunction(uuid.uuid4),
            lease_owner="cpu-0@tests/1",
            lease_expires_at=ago(-60),
            attempts=1,
        )
        completed = factory.Trait(
            prepared=True,
            status=Status.COMPLETED,
            started_at=ago(4),
            finished_at=ago(1),
            progress=1.0,
            progress_at=ago(1),
            inference_seconds=2.5,
            attempts=1,
            detected_language="en",
            transcript=factory.RelatedFactory(
                "tests.support.factories.TranscriptFactory", factory_related_name="task"
            ),
        )
        failed = factory.Trait(
            status=Status.FAILED,
            finished_at=ago(1),
            attempts=1,
            error_code="invalid_media",
            error_message="The file is not audio or video that can be read.",
            media_expires_at=ago(-3600),
        )
        cancelled = factory.Trait(
            status=Status.CANCELLED,
            finished_at=ago(1),
            cancel_requested_at=ago(1),
            media_expires_at=ago(-3600),
        )

    owner = factory.SubFactory(UserFactory)
    engine = DEFAULT_ENGINE
    model = "demo"
    priority = TranscriptionTask.Priority.NORMAL
    effective_priority = factory.SelfAttribute("priority")
    options = factory.LazyFunction(lambda: {"word_timestamps": False})
    file_name = "speech.wav"
    file_size_bytes = 320_044


class TranscriptFactory(factory.django.DjangoModelFactory):
    """Two segments of English."""

    class Meta:
        model = Transcript

    task = factory.SubFactory(TaskFactory, completed=True, transcript=None)
    text = "We meet in Tokyo. Peter plays."
    language = "en"
    language_probability = 0.98
    language_probabilities = factory.LazyFunction(lambda: {"en": 0.98, "es": 0.02})
    duration_seconds = 10.0
    duration_after_vad_seconds = 9.0
    segments = factory.LazyFunction(
        lambda: [
            segment(0, 0.0, 2.5, " We meet in Tokyo."),
            segment(1, 2.5, 4.0, " Peter plays."),
        ]
    )
    model = factory.LazyFunction(
        lambda: {
            "name": "demo",
            "revision": "0123456789ab",
            "engine": "faster-whisper",
            "device": "cpu",
            "compute_type": "int8",
        }
    )
    notices = factory.LazyFunction(lambda: ["demo model: knows little"])


class CallbackFactory(factory.django.DjangoModelFactory):
    """The news of a completed task, due and without a hint; the traits are later."""

    class Meta:
        model = Callback

    class Params:
        dispatched = factory.Trait(dispatched_at=ago(20))
        later = factory.Trait(
            next_attempt_at=ago(-3600), attempts=1, failures=1, http_status=500
        )
        delivering = factory.Trait(
            dispatched=True,
            state=Callback.State.DELIVERING,
            attempts=1,
            lease_token=factory.LazyFunction(uuid.uuid4),
            lease_owner="callbacks@tests/1",
            lease_expires_at=ago(-60),
        )
        expired_lease = factory.Trait(delivering=True, lease_expires_at=ago(1))
        delivered = factory.Trait(
            dispatched=True,
            state=Callback.State.DELIVERED,
            attempts=1,
            http_status=204,
            ended_at=ago(1),
        )
        undeliverable = factory.Trait(
            dispatched=True,
            state=Callback.State.UNDELIVERABLE,
            attempts=10,
            failures=10,
            error_code="timeout",
            ended_at=ago(1),
        )
        test = factory.Trait(
            task=None,
            event=Callback.Event.TEST,
            owner=factory.SubFactory(UserFactory),
            url="http://127.0.0.1:9/hook",
            headers=factory.LazyFunction(dict),
        )

    task = factory.SubFactory(
        TaskFactory, completed=True, callback_url="http://127.0.0.1:9/hook"
    )
    owner = factory.SelfAttribute("task.owner")
    url = factory.SelfAttribute("task.callback_url")
    headers = factory.SelfAttribute("task.callback_headers")
    event = factory.LazyAttribute("task.{0.task.status}".format)
    next_attempt_at = ago(10)


class CallbackSecretFactory(factory.django.DjangoModelFactory):
    """The newest secret of an owner; the traits are former ones."""

    class Meta:
        model = CallbackSecret

    class Params:
        former = factory.Trait(expires_at=ago(-60))
        expired = factory.Trait(expires_at=ago(1))

    owner = factory.SubFactory(UserFactory)
    number = 1
    secret = factory.LazyFunction(
        lambda: "whsec_" + b64encode(uuid.uuid4().bytes * 2).decode()
    )


class AttemptFactory(factory.django.DjangoModelFactory):
    """An attempt that has just begun."""

    class Meta:
        model = CallbackAttempt

    callback = factory.SubFactory(CallbackFactory, delivering=True)
    number = 1
    started_at = ago(2)


class SlotFactory(factory.django.DjangoModelFactory):
    """A living inference process that is ready."""

    class Meta:
        model = WorkerSlot

    class Params:
        silent = factory.Trait(last_seen_at=ago(3600))
        forgotten = factory.Trait(last_seen_at=ago(2 * 86_400))
        demo = factory.Trait(notice="demo model: knows only the sample vocabulary")

    name = factory.Sequence("cpu-{}@tests".format)
    host = "tests"
    pid = 1
    boot_id = factory.LazyFunction(uuid.uuid4)
    device = "cpu"
    compute_type = "int8"
    engine = DEFAULT_ENGINE
    model = "demo"
    state = WorkerSlot.State.READY
    started_at = ago(60)
    last_seen_at = ago(0)


def segment(number: int, start: float, end: float, text: str) -> dict[str, Any]:
    """A stored segment."""
    return {
        "id": number,
        "seek": 0,
        "start": start,
        "end": end,
        "text": text,
        "tokens": [50364, 100 + number],
        "temperature": 0.0,
        "avg_logprob": -0.2,
        "compression_ratio": 1.1,
        "no_speech_prob": 0.01,
        "words": None,
        "language": None,
    }

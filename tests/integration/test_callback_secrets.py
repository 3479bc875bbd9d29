"""What signs callbacks: made once, replaced without a gap, shown to its owner alone."""

from __future__ import annotations

import threading
from base64 import b64decode
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from accounts.models import User
from tests.integration.databases import in_threads
from tests.support.factories import CallbackSecretFactory, UserFactory
from tests.support.waiting import patient
from transcription.errors import TooManySecretsError
from transcription.models import CallbackSecret
from transcription.services import callback_secrets
from workers.dispatcher import Dispatcher

pytestmark = pytest.mark.django_db


def secrets_of(owner: User) -> list[str]:
    return [row.secret for row in callback_secrets.secrets_of(owner.pk)]


# --- Made and replaced ---------------------------------------------------------------


def test_a_secret_is_made_when_it_is_first_wanted():
    first, second = UserFactory.create_batch(2)

    (secret,) = secrets_of(first)

    assert secret.startswith("whsec_")
    assert len(b64decode(secret.removeprefix("whsec_"), validate=True)) == 32
    assert secrets_of(first) == [secret]
    assert secrets_of(second) != [secret]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("act", ["secrets_of", "rotate"])
def test_those_who_come_at_once_get_the_same_secret(act):
    owner = UserFactory()
    if act == "rotate":
        callback_secrets.secrets_of(owner.pk)
    before = CallbackSecret.objects.count()
    gate = threading.Barrier(4)

    def get() -> str:
        gate.wait(timeout=patient(20))
        return str(getattr(callback_secrets, act)(owner.pk)[0].secret)

    got = in_threads([get] * 4)

    if act == "secrets_of":
        assert (len(set(got)), CallbackSecret.objects.count()) == (1, 1)
    # Rotations that did not meet make one each, but never two of one number.
    numbers = list(CallbackSecret.objects.values_list("number", flat=True))
    assert sorted(numbers) == list(range(1, len(numbers) + 1))
    assert before < len(numbers) <= before + 4
    assert CallbackSecret.objects.filter(expires_at=None).count() == 1


def test_a_secret_made_between_two_looks_is_not_replaced(monkeypatch):
    owner = UserFactory()
    look = callback_secrets._valid
    made: list[CallbackSecret] = []

    def look_and_be_late(owner_id: int) -> Any:
        if made:
            return look(owner_id)
        made.append(CallbackSecretFactory(owner=owner))
        return []

    monkeypatch.setattr(callback_secrets, "_valid", look_and_be_late)

    assert callback_secrets.secrets_of(owner.pk) == made


def test_a_rotation_that_came_second_makes_no_other_secret(monkeypatch):
    owner = UserFactory()
    read_before = callback_secrets.secrets_of(owner.pk)
    rotated = callback_secrets.rotate(owner.pk)
    answers = iter([read_before])
    real = callback_secrets.secrets_of
    monkeypatch.setattr(
        callback_secrets, "secrets_of", lambda pk: next(answers, None) or real(pk)
    )

    assert callback_secrets.rotate(owner.pk) == rotated


def test_the_former_secret_stays_valid_for_the_overlap(settings):
    settings.CALLBACK_SECRET_OVERLAP_SECONDS = 100
    owner = UserFactory()
    (former,) = secrets_of(owner)

    newest, kept = callback_secrets.rotate(owner.pk)

    assert (kept.secret, newest.secret != former) == (former, True)
    assert newest.expires_at is None
    assert kept.expires_at is not None
    left = kept.expires_at - newest.created_at
    assert timedelta(seconds=98) < left <= timedelta(seconds=101)
    CallbackSecret.objects.filter(pk=kept.pk).update(expires_at=Now())
    assert secrets_of(owner) == [newest.secret]


def test_a_second_rotation_does_not_prolong_the_first_secret():
    owner = UserFactory()
    secrets_of(owner)
    before = callback_secrets.rotate(owner.pk)[1].expires_at

    assert callback_secrets.rotate(owner.pk)[2].expires_at == before


def test_without_an_overlap_the_former_secret_ends_at_once(settings):
    settings.CALLBACK_SECRET_OVERLAP_SECONDS = 0
    owner = UserFactory()
    (former,) = secrets_of(owner)

    (newest,) = callback_secrets.rotate(owner.pk)

    assert newest.secret != former


def test_there_is_an_end_to_rotating():
    owner = UserFactory()
    for _ in range(callback_secrets.MOST_VALID - 1):
        callback_secrets.rotate(owner.pk)

    with pytest.raises(TooManySecretsError):
        callback_secrets.rotate(owner.pk)

    CallbackSecret.objects.filter(number=1).update(expires_at=Now())
    assert len(callback_secrets.rotate(owner.pk)) == callback_secrets.MOST_VALID


@pytest.mark.parametrize("left", ["former", "expired", None])
def test_a_secret_that_an_operator_deletes_is_replaced(left):
    owner = UserFactory()
    if left:
        CallbackSecretFactory(owner=owner, **{left: True})

    found = callback_secrets.secrets_of(owner.pk)

    assert found[0].expires_at is None
    assert len(found) == (2 if left == "former" else 1)


def test_the_dispatcher_forgets_what_has_expired():
    CallbackSecretFactory(expired=True)
    kept = [CallbackSecretFactory(former=True), CallbackSecretFactory()]

    Dispatcher().tick()

    assert list(CallbackSecret.objects.order_by("pk")) == kept


def test_secrets_go_with_their_owner():
    secret = CallbackSecretFactory()

    secret.owner.delete()

    assert not CallbackSecret.objects.exists()

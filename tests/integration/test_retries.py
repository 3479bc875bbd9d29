"""Which tasks may start again: a row and the database say the same."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest
from django.utils import timezone

from tests.support.factories import TaskFactory
from transcription.models import TranscriptionTask
from transcription.retries import can_retry, retryable

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("keep_originals", [True, False])
def test_a_row_and_the_database_say_the_same(settings, keep_originals):
    settings.KEEP_ORIGINALS = keep_originals
    kept_until = timezone.now() + timedelta(hours=1)
    traits = ("completed", "failed", "cancelled", "queued", "processing")
    sources = TranscriptionTask.Source.values
    tasks = [
        TaskFactory(**{trait: True}, source=source, media_expires_at=expires_at)
        for trait, source, expires_at in itertools.product(
            traits, sources, (None, kept_until)
        )
    ]

    found = set(TranscriptionTask.objects.filter(retryable()))

    assert found == {task for task in tasks if can_retry(task)}
    assert len(found) == (8 if keep_originals else 6)

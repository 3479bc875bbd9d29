"""What is counted for quotas, once each, also when several are first."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection, transaction
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from accounts import usage
from accounts.keys import limit_key, rotate_key
from accounts.limits import client_with_key, quota_account_of
from accounts.models import ApiKey, DailyUsage, QuotaAccount, User
from tests.integration.databases import PLANS_ONLY, in_threads
from tests.integration.steps import DECODED, finish_preparation, lease_of
from tests.integration.test_list_plans import explain
from tests.support.factories import (
    ApiKeyFactory,
    QuotaAccountFactory,
    TaskFactory,
    UserFactory,
)
from tools import many_tasks
from transcription.errors import LeaseLostError, QuotaError
from transcription.models import TranscriptionTask
from transcription.services import quotas, steering
from transcription.services.submission import (
    Link,
    TaskRequest,
    submit,
    submit_once,
    submit_upload,
)
from transcription.services.transitions import cancelling, claims, completion, restart
from workers.dispatcher import Dispatcher

pytestmark = pytest.mark.django_db

LINK = Link("https://example.org/a.wav")
MINUTE_LONG = replace(DECODED, sample_count=60 * 16_000)


def days() -> list[tuple[int | None, float, int]]:
    """Account, seconds and tasks of each row."""
    rows = DailyUsage.objects.order_by("quota_account")
    return list(rows.values_list("quota_account", *COUNTED))


COUNTED = ("audio_seconds", "tasks")


# --- Counting ------------------------------------------------------------------------


def test_audio_is_counted_with_the_move_to_queued():
    key = ApiKeyFactory()
    for _ in range(2):
        task = TaskFactory(
            leased=True, owner=key.owner, quota_account=key.quota_account
        )
        finish_preparation(task)

    assert days() == [(key.quota_account_id, 8.0, 2)]
    task.refresh_from_db()
    assert (task.status, task.charged_seconds) == ("queued", 4.0)


def test_options_that_make_more_windows_count_as_more_audio():
    clips = [float(number) for number in range(8)]
    task = TaskFactory(leased=True, options={"clip_timestamps": clips})

    # Of a recording of 4 s, which has one window: clips from 0 s and from 2 s.
    finish_preparation(task)

    task.refresh_from_db()
    assert task.charged_seconds == days()[0][1] == 4.0 + 30.0
    assert task.media_duration_seconds == 4.0


def test_what_is_undone_is_not_counted():
    task = TaskFactory(leased=True)

    with transaction.atomic():
        finish_preparation(task)
        transaction.set_rollback(True)

    assert days() == []


@pytest.mark.parametrize("state", ["lost", "cancelled"])
def test_a_task_that_is_not_queued_is_not_counted(state):
    task = TaskFactory(leased=True)
    if state == "lost":
        with pytest.raises(LeaseLostError):
            completion.finish_preparation(
                replace(lease_of(task), token=task.public_id), DECODED
            )
    else:
        cancelling.cancel(task.pk)
        finish_preparation(task)

    assert days() == []


def prepare_again(task: TranscriptionTask, decoded=DECODED) -> None:
    TranscriptionTask.objects.filter(pk=task.pk).update(
        status="failed", media_expires_at=Now()
    )
    assert restart.start_again(task.pk)
    lease = claims.claim_preparation(task.pk, owner="media@tests/1")
    assert lease
    completion.finish_preparation(lease, decoded)


def test_a_task_that_starts_again_is_counted_once():
    key = ApiKeyFactory()
    task = TaskFactory(leased=True, quota_account=key.quota_account)
    finish_preparation(task)

    prepare_again(task)

    assert days() == [(key.quota_account_id, 4.0, 1)]


def test_a_link_that_has_become_longer_costs_the_difference():
    key = ApiKeyFactory()
    task = TaskFactory(leased=True, quota_account=key.quota_account)
    finish_preparation(task)

    prepare_again(task, MINUTE_LONG)
    prepare_again(task)
    prepare_again(task, MINUTE_LONG)

    assert days() == [(key.quota_account_id, 60.0, 1)]


def test_a_task_from_before_counts_for_its_owner():
    task = TaskFactory(leased=True, quota_account=None)

    finish_preparation(task)

    assert days() == [(quota_account_of(task.owner), 4.0, 1)]


def test_days_are_rows_of_their_own(monkeypatch):
    first = usage.today()
    owner = UserFactory().pk
    one, other, unused = (
        account.pk for account in QuotaAccountFactory.create_batch(3, owner_id=owner)
    )
    usage.charge(one, owner, audio_seconds=1, tasks=1)
    monkeypatch.setattr(usage, "today", lambda: first + timedelta(days=29))
    usage.charge(one, owner, audio_seconds=2, tasks=1)
    usage.charge(other, owner, audio_seconds=4, tasks=1)

    assert usage.used_by_account(one) == usage.Used(2.0, 1)
    assert usage.used_by_account(one, days=30) == usage.Used(3.0, 2)
    assert usage.used_by_owner(owner, days=29) == usage.Used(6.0, 2)
    assert usage.used_by_owner(owner, days=30) == usage.Used(7.0, 3)
    assert usage.used_by_account(unused) == usage.Used(0.0, 0)


def test_nothing_is_lost_at_midnight(monkeypatch):
    """The day may turn while a use is counted."""
    now = usage.today()
    turning = iter(now + timedelta(days=n) for n in range(100))
    monkeypatch.setattr(usage, "today", lambda: next(turning))

    account = QuotaAccountFactory()
    usage.charge(account.pk, account.owner_id, audio_seconds=4.0, tasks=1)

    assert days() == [(account.pk, 4.0, 1)]


def test_the_dispatcher_forgets_days_that_nobody_asks_for(monkeypatch):
    now, account = usage.today(), QuotaAccountFactory()
    for age in (0, 400, 401):
        day = now - timedelta(days=age)
        DailyUsage.objects.create(quota_account=account, owner=account.owner, day=day)

    dispatcher = Dispatcher()
    dispatcher.tick()

    ages = {
        (now - day).days for day in DailyUsage.objects.values_list("day", flat=True)
    }
    assert ages == {0, 400}


# --- Quota accounts ------------------------------------------------------------------


def test_keys_that_were_rotated_share_an_account_and_one_set_of_limits():
    first, stranger = ApiKeyFactory(unfinished_tasks=3), ApiKeyFactory()
    second, _ = rotate_key(first)
    third, _ = rotate_key(second)

    limit_key(second, {"highest_priority": "low", "audio_seconds_per_day": 9})

    account = QuotaAccount.objects.get(api_keys=third)
    sharing = list(account.api_keys.order_by("pk"))
    assert sharing == [first, second, third]
    for key in sharing:
        assert key.limits == {
            "requests_per_minute": None,
            "audio_seconds_per_day": 9,
            "unfinished_tasks": 3,
            "highest_priority": "low",
        }
    stranger.refresh_from_db()
    assert set(stranger.limits.values()) == {None}


def test_what_was_used_outlives_the_first_key():
    first = ApiKeyFactory()
    second, _ = rotate_key(first)
    account_id = quota_account_of(first)
    usage.charge(account_id, first.owner_id, audio_seconds=5, tasks=1)

    first.delete()

    second.refresh_from_db()
    assert second.quota_account_id == account_id
    assert usage.used_by_account(account_id).audio_seconds == 5


def test_tasks_and_usage_outlive_the_last_key():
    key = ApiKeyFactory()
    account = key.quota_account
    task = TaskFactory(leased=True, owner=key.owner, quota_account=account)

    key.delete()
    finish_preparation(task)

    assert days() == [(account.pk, 4.0, 1)]
    assert usage.used_by_owner(task.owner_id).tasks == 1


def test_accounts_go_with_their_owner_and_leave_the_tasks_and_usage_of_others():
    key, other = ApiKeyFactory(), UserFactory()
    account = key.quota_account
    quota_account_of(key.owner)
    TaskFactory(owner=key.owner, quota_account=account)
    usage.charge(account.pk, key.owner_id, audio_seconds=1, tasks=1)
    DailyUsage.objects.update(day=usage.today() - timedelta(days=1))
    # The owner, who is of the staff, has started the task of another once more.
    task = TaskFactory(leased=True, owner=other, quota_account=account)
    finish_preparation(task)

    key.owner.delete()

    assert not QuotaAccount.objects.exists()
    assert days() == [(None, 4.0, 1)]
    assert usage.used_by_owner(other.pk).audio_seconds == 4.0
    assert TranscriptionTask.objects.get() == task


def test_an_account_is_made_once_and_then_costs_no_query(django_assert_num_queries):
    owner = UserFactory()
    key = ApiKeyFactory(quota_account=None)

    mine, of_key = quota_account_of(owner), quota_account_of(key)

    assert mine != of_key
    for holder in (owner, key):
        holder.refresh_from_db()
    with django_assert_num_queries(0):
        assert quota_account_of(owner) == mine
        assert client_with_key(key).quota_account_id == of_key
    assert QuotaAccount.objects.get(pk=of_key).owner_id == key.owner_id


def test_a_key_that_an_earlier_release_rotated_goes_on_with_the_account():
    new = ApiKeyFactory(quota_account=None)
    former = ApiKeyFactory(owner=new.owner, replaced_by=new)

    assert quota_account_of(new) == former.quota_account_id


@pytest.mark.django_db(transaction=True)
def test_of_many_first_requests_at_once_one_makes_the_account():
    owner, gate = UserFactory(), threading.Barrier(6)

    def first() -> int:
        mine = User.objects.get(pk=owner.pk)
        gate.wait()
        return quota_account_of(mine)

    assert len(set(in_threads([first] * 6))) == QuotaAccount.objects.count() == 1


# --- Several at once -----------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_of_many_submissions_at_once_no_more_get_in_than_there_is_room(no_hints):
    key = ApiKeyFactory(unfinished_tasks=3)
    client, gate = client_with_key(key), threading.Barrier(8)

    def send() -> bool:
        gate.wait()
        try:
            submit(key.owner, LINK, TaskRequest(), client=client)
        except QuotaError:
            return False
        return True

    let_in = in_threads([send] * 8)

    assert sum(let_in) == TranscriptionTask.objects.count() == 3


@pytest.mark.django_db(transaction=True)
def test_of_many_retries_at_once_no_more_get_in_than_there_is_room(no_hints):
    key = ApiKeyFactory(unfinished_tasks=2)
    client, gate = client_with_key(key), threading.Barrier(6)
    tasks = [
        TaskFactory(owner=key.owner, failed=True, source="link", file_url=LINK.url)
        for _ in range(6)
    ]

    def retry(task: TranscriptionTask) -> bool:
        gate.wait()
        try:
            steering.retry_task(task, client=client)
        except QuotaError:
            return False
        return True

    let_in = in_threads([partial(retry, task) for task in tasks])

    assert sum(let_in) == 2
    assert quotas.unfinished_tasks(key.quota_account_id, most=10) == 2


@pytest.mark.django_db(transaction=True)
def test_copies_of_one_request_at_once_find_one_task_and_no_quota(no_hints):
    key = ApiKeyFactory(unfinished_tasks=1)
    client, gate = client_with_key(key), threading.Barrier(6)

    def send() -> bool:
        gate.wait()
        return submit_once(
            key.owner, LINK, TaskRequest(), key="once", client=client
        ).replayed

    replayed = in_threads([send] * 6)

    assert sorted(replayed) == [False] + [True] * 5
    assert TranscriptionTask.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_no_audio_is_lost_when_many_tasks_are_prepared_at_once():
    key = ApiKeyFactory()
    tasks = [
        TaskFactory(leased=True, owner=key.owner, quota_account=key.quota_account)
        for _ in range(12)
    ]
    gate = threading.Barrier(len(tasks))

    def prepare(task: TranscriptionTask) -> None:
        gate.wait()
        finish_preparation(task)

    in_threads([partial(prepare, task) for task in tasks])

    assert days() == [(key.quota_account_id, 48.0, 12)]


@pytest.mark.django_db(transaction=True)
def test_limits_that_change_during_a_rotation_hold_for_the_new_key():
    for _ in range(5):
        key, gate = ApiKeyFactory(), threading.Barrier(2)

        def rotate(key=key, gate=gate) -> None:
            gate.wait()
            rotate_key(key)

        def limit(key=key, gate=gate) -> None:
            gate.wait()
            limit_key(key, {"unfinished_tasks": 1})

        in_threads([rotate, limit])

        sharing = ApiKey.objects.filter(quota_account=key.quota_account)
        assert list(sharing.values_list("unfinished_tasks", flat=True)) == [1, 1]


# --- What it costs -------------------------------------------------------------------


def test_without_a_quota_a_submission_asks_nothing_of_it(no_hints):
    owner = UserFactory()
    upload = SimpleUploadedFile("a.wav", b"sound")

    with CaptureQueriesContext(connection) as asked:
        submit_upload(owner, upload, TaskRequest())

    tables = " ".join(entry["sql"] for entry in asked.captured_queries)
    assert DailyUsage._meta.db_table not in tables
    assert "COUNT" not in tables


@PLANS_ONLY
def test_unfinished_tasks_are_counted_from_an_index_alone():
    many_tasks.fill(5_000, owners=3)
    owner = TranscriptionTask.objects.values_list("owner", flat=True)[0]
    account_id = quota_account_of(User.objects.get(pk=owner))
    TranscriptionTask.objects.filter(owner=owner).update(quota_account=account_id)
    many_tasks.analyse()

    with CaptureQueriesContext(connection) as asked:
        quotas.unfinished_tasks(account_id, most=100)

    (statement,) = (entry["sql"] for entry in asked.captured_queries)
    plan = explain(statement)
    assert "task_of_account" in plan
    if connection.vendor == "sqlite":
        assert "COVERING INDEX task_of_account" in plan

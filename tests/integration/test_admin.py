"""The operators' console."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts import usage
from accounts.keys import rotate_key
from accounts.models import ApiKey, DailyUsage, digest_of
from tests.support.factories import (
    ApiKeyFactory,
    AttemptFactory,
    CallbackFactory,
    CallbackSecretFactory,
    SlotFactory,
    TaskFactory,
    UserFactory,
)
from tests.support.stored_files import TaskFiles
from transcription.models import Callback, TranscriptionTask
from transcription.notices import Notice, NoticeCode
from transcription.services import callback_secrets
from whisperhub.sentences import Sentence

pytestmark = pytest.mark.django_db

TASKS = "admin:transcription_transcriptiontask_changelist"
TASK = "admin:transcription_transcriptiontask_change"
SLOTS = "admin:transcription_workerslot_changelist"
CALLBACKS = "admin:transcription_callback_changelist"
SECRETS = "admin:transcription_callbacksecret_changelist"
SECRET = "admin:transcription_callbacksecret_change"
CALLBACK = "admin:transcription_callback_change"
KEYS = "admin:accounts_apikey_changelist"
STATES = ["prepared", "leased", "queued", "processing", "completed", "failed"]
NOTICE = "demo model: knows only the sample vocabulary"


@pytest.fixture
def operator() -> Any:
    return UserFactory(operator=True)


@pytest.fixture
def console(operator: Any) -> Client:
    """A browser of an operator who is signed in."""
    browser = Client()
    browser.force_login(operator)
    return browser


def page(console: Client, name: str, *args: Any, **query: Any) -> str:
    response = console.get(reverse(name, args=args), query)
    assert response.status_code == 200
    return response.content.decode()


def act(console: Client, name: str, action: str, rows: list[Any]) -> list[str]:
    """Run an action on rows and return what the page then says."""
    response = console.post(
        reverse(name), {"action": action, "_selected_action": [row.pk for row in rows]}
    )
    assert response.status_code == 302
    return [str(message) for message in get_messages(response.wsgi_request)]


# --- Pages ---------------------------------------------------------------------------


def test_the_list_shows_tasks_in_every_state(console):
    tasks = [TaskFactory(**{state: True}) for state in [*STATES, "cancelled"]]

    html = page(console, TASKS)

    for task in tasks:
        assert str(task.public_id)[:8] in html
        assert task.get_status_display() in html
    assert "invalid_media" in html


@pytest.mark.parametrize("state", [*STATES, "cancelled"])
def test_a_task_has_a_page(console, state):
    task = TaskFactory(**{state: True})

    html = page(console, TASK, task.pk)

    assert str(task.public_id) in html
    if state == "completed":
        assert "We meet in Tokyo." in html


def test_nothing_of_a_task_can_be_typed_over(console):
    task = CallbackFactory().task

    html = page(console, TASK, task.pk)

    form = html[html.index('id="transcriptiontask_form"') :]
    names = re.findall(r'<(?:input|select|textarea)[^>]* name="([^"]+)"', form)
    assert {name for name in names if not name.startswith("_")} <= {
        "csrfmiddlewaretoken",
        "transcript-TOTAL_FORMS",
        "transcript-INITIAL_FORMS",
        "transcript-MIN_NUM_FORMS",
        "transcript-MAX_NUM_FORMS",
        "transcript-0-task",
        "callbacks-TOTAL_FORMS",
        "callbacks-INITIAL_FORMS",
        "callbacks-MIN_NUM_FORMS",
        "callbacks-MAX_NUM_FORMS",
        "callbacks-0-id",
        "callbacks-0-task",
    }


def test_a_forged_form_changes_nothing(console):
    task = TaskFactory(failed=True)
    before = TranscriptionTask.objects.values().get()

    console.post(
        reverse(TASK, args=[task.pk]),
        {
            "status": "completed",
            "priority": "high",
            "transcript-TOTAL_FORMS": "0",
            "transcript-INITIAL_FORMS": "0",
        },
    )

    assert TranscriptionTask.objects.values().get() == before


def test_nobody_adds_tasks_or_slots_by_hand(console):
    for name in ("transcriptiontask", "callback", "callbacksecret", "workerslot"):
        response = console.get(reverse(f"admin:transcription_{name}_add"))
        assert response.status_code == 403


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ({"status__exact": "failed"}, {"failed"}),
        ({"priority__exact": "high"}, {"urgent"}),
        ({"error_code__exact": "invalid_media"}, {"failed"}),
        ({"stuck": "yes"}, {"stuck"}),
        ({"q": "holiday"}, {"urgent"}),
    ],
    ids=str,
)
def test_filters_and_search(console, query, shown):
    tasks = {
        "failed": TaskFactory(failed=True),
        "urgent": TaskFactory(priority="high", file_name="holiday.mp3"),
        "stuck": TaskFactory(queued=True),
    }
    TranscriptionTask.objects.filter(pk=tasks["stuck"].pk).update(
        created_at="2020-01-01T00:00:00Z"
    )

    html = page(console, TASKS, **query)

    assert {
        name for name, task in tasks.items() if str(task.public_id)[:8] in html
    } == shown


def test_a_task_is_found_by_its_id(console):
    task, other = TaskFactory.create_batch(2)

    html = page(console, TASKS, q=str(task.public_id))

    assert str(task.public_id)[:8] in html
    assert str(other.public_id)[:8] not in html


@pytest.mark.parametrize("name", [TASKS, CALLBACKS, SECRETS, SLOTS, KEYS])
def test_a_list_asks_the_same_for_many_rows(console, name):
    def make(count: int) -> None:
        if name == TASKS:
            TaskFactory.create_batch(count, completed=True)
        elif name == CALLBACKS:
            CallbackFactory.create_batch(count, later=True)
        elif name == SECRETS:
            CallbackSecretFactory.create_batch(count)
        elif name == SLOTS:
            SlotFactory.create_batch(count)
        else:
            ApiKeyFactory.create_batch(count)

    def count_queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            page(console, name)
        return len(captured)

    make(1)
    page(console, name)
    few = count_queries()
    make(20)

    assert count_queries() == few


def test_file_names_are_escaped(console):
    TaskFactory(
        failed=True, file_name="<script>x</script>", error_message='"><script>y'
    )

    html = page(console, TASKS)

    assert "<script>x" not in html
    assert "<script>y" not in html


def test_notices_of_a_task_are_shown_and_escaped(console):
    notice = Notice(NoticeCode.AUDIO_MISSING, Sentence("<b>2 s</b> are missing."))
    task = TaskFactory(completed=True, notices=[notice.as_dict()])

    html = page(console, "admin:transcription_transcriptiontask_change", task.pk)

    assert "audio_missing" in html
    assert "&lt;b&gt;2 s&lt;/b&gt; are missing." in html


def test_slots_are_shown_with_their_life(console):
    SlotFactory(name="alive@here")
    SlotFactory(name="silent@here", silent=True)
    SlotFactory(name="broken@here", state="failed", message="No such model.")

    html = page(console, SLOTS)

    assert html.count("icon-yes") == 1
    assert html.count("icon-no") == 2
    assert "No such model." in html


def test_a_slot_has_a_page(console):
    slot = SlotFactory()

    assert slot.name in page(console, "admin:transcription_workerslot_change", slot.pk)


# --- Actions -------------------------------------------------------------------------


def test_cancelling_reports_how_many(console):
    waiting = TaskFactory(queued=True)
    running = TaskFactory(processing=True)
    ended = TaskFactory(completed=True)
    files = TaskFiles(waiting.public_id)
    files.create()
    files.samples.write_bytes(b"samples")

    said = act(console, TASKS, "cancel_tasks", [waiting, running, ended])

    waiting.refresh_from_db()
    running.refresh_from_db()
    ended.refresh_from_db()
    assert waiting.status == "cancelled"
    assert not files.exist()
    assert (running.status, running.cancel_requested_at is None) == (
        "processing",
        False,
    )
    assert ended.status == "completed"
    assert said == ["2 task(s) cancelled.", "1 task(s) had ended already."]


def test_deleting_takes_the_media_along(console):
    tasks = [TaskFactory(completed=True), TaskFactory(processing=True)]
    files = TaskFiles(tasks[0].public_id)
    files.create()
    files.original.write_bytes(b"media")

    said = act(console, TASKS, "delete_tasks", tasks)

    assert said == ["2 task(s) deleted."]
    assert not TranscriptionTask.objects.exists()
    assert not files.exist()


def test_deleting_one_task_from_its_page_takes_the_media_along(console):
    task = TaskFactory(completed=True)
    files = TaskFiles(task.public_id)
    files.create()
    files.original.write_bytes(b"media")

    address = reverse("admin:transcription_transcriptiontask_delete", args=[task.pk])
    console.post(address, {"post": "yes"})

    assert not TranscriptionTask.objects.exists()
    assert not files.exist()


@pytest.mark.parametrize("what", ["task", "owner"])
def test_what_has_a_callback_is_deleted_from_its_page(console, what):
    callback = AttemptFactory(callback__delivering=True).callback
    CallbackSecretFactory(owner=callback.owner)
    page_name, pk = {
        "task": ("transcription_transcriptiontask", callback.task_id),
        "owner": ("accounts_user", callback.owner_id),
    }[what]

    console.post(reverse(f"admin:{page_name}_delete", args=[pk]), {"post": "yes"})

    assert not TranscriptionTask.objects.exists()
    assert not Callback.objects.exists()


def test_djangos_own_deletion_is_not_offered(console):
    TaskFactory()

    assert "delete_selected" not in page(console, TASKS)


def test_who_may_only_look_is_offered_no_action(db):
    from django.contrib.auth.models import Permission

    user = UserFactory(is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_transcriptiontask"))
    browser = Client()
    browser.force_login(user)
    task = TaskFactory(queued=True)

    html = page(browser, TASKS)
    browser.post(
        reverse(TASKS), {"action": "cancel_tasks", "_selected_action": [task.pk]}
    )

    task.refresh_from_db()
    assert "cancel_tasks" not in html
    assert task.status == "queued"


# --- Callbacks -----------------------------------------------------------------------


def test_a_tasks_page_shows_its_callback_with_each_attempt(console):
    callback = CallbackFactory(later=True, attempts=2)
    AttemptFactory(callback=callback, http_status=500, duration_seconds=0.25)
    AttemptFactory(callback=callback, number=2, error_code="timeout")

    html = page(console, TASK, callback.task_id)

    assert callback.task.callback_url in html
    assert "task.completed" in html
    assert re.search(r"1\. [\d :-]+ 500 \(0\.25", html)
    assert re.search(r"2\. [\d :-]+ timeout", html)
    assert f"{callback.next_attempt_at:%Y-%m-%d %H:%M:%S}" in html


@pytest.mark.parametrize(
    "trait", ["later", "dispatched", "delivering", "delivered", "undeliverable"]
)
def test_a_callback_has_a_page_and_a_line(console, trait):
    callback = AttemptFactory(callback=CallbackFactory(**{trait: True})).callback

    html = page(console, CALLBACK, callback.pk)
    assert str(callback.public_id) in html
    assert "_save" not in html
    html = page(console, CALLBACKS)
    assert str(callback.public_id)[:8] in html
    assert callback.get_state_display() in html


@pytest.mark.parametrize("field", ["public_id", "task"])
def test_a_callback_is_found_by_either_id(console, field):
    callback, other = CallbackFactory.create_batch(2)
    sought = callback.public_id if field == "public_id" else callback.task.public_id

    html = page(console, CALLBACKS, q=str(sought))

    assert str(callback.public_id)[:8] in html
    assert str(other.public_id)[:8] not in html


def test_callbacks_are_delivered_again(console):
    given_up = CallbackFactory(undeliverable=True)
    delivered = CallbackFactory(delivered=True)
    under_way = CallbackFactory(delivering=True)

    said = act(console, CALLBACKS, "deliver_again", [given_up, delivered, under_way])

    states = dict(Callback.objects.values_list("pk", "state"))
    assert states == {
        given_up.pk: "pending",
        delivered.pk: "pending",
        under_way.pk: "delivering",
    }
    assert said == [
        "2 callback(s) to be delivered again.",
        "1 callback(s) are being delivered.",
    ]


@pytest.mark.parametrize("trait", [{}, {"test": True}], ids=str)
def test_headers_of_clients_are_named_only(console, trait):
    callback = CallbackFactory(**trait)
    headers = {"X-Secret-Key": "do-not-tell"}
    Callback.objects.update(headers=headers)
    TranscriptionTask.objects.update(callback_headers=headers)

    html = page(console, CALLBACK, callback.pk)
    pages = [html, page(console, CALLBACKS)]
    if callback.task:
        pages += [page(console, TASK, callback.task_id), page(console, TASKS)]

    assert "X-Secret-Key" in html
    assert callback.url in html
    for shown in pages:
        assert "do-not-tell" not in shown


def test_the_console_shows_no_whole_secret(console):
    secret = CallbackSecretFactory()

    for html in (page(console, SECRETS), page(console, SECRET, secret.pk)):
        assert secret.prefix in html
        assert secret.owner.username in html
        assert secret.secret[6:16] not in html


def test_secrets_are_replaced_once_for_each_owner(console):
    first, second = CallbackSecretFactory.create_batch(2)
    former = CallbackSecretFactory(owner=first.owner, number=0, former=True)
    full = UserFactory()
    for number in range(1, callback_secrets.MOST_VALID):
        CallbackSecretFactory(owner=full, number=number, former=True)
    last = CallbackSecretFactory(owner=full, number=callback_secrets.MOST_VALID)

    said = act(console, SECRETS, "replace", [first, former, second, last])

    assert said == [
        "2 secret(s) replaced.",
        "1 owner(s) have too many valid secrets.",
    ]
    assert first.owner.callback_secrets.count() == 3
    assert second.owner.callback_secrets.count() == 2


def test_callbacks_are_not_deleted_alone(console):
    callback = CallbackFactory(delivered=True)

    assert "delete_selected" not in page(console, CALLBACKS)
    address = reverse("admin:transcription_callback_delete", args=[callback.pk])
    assert console.post(address, {"post": "yes"}).status_code == 403
    assert Callback.objects.exists()


# --- The banner ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["admin:index", TASKS, SLOTS])
def test_the_notice_of_a_living_model_is_on_every_page(console, name):
    SlotFactory.create_batch(2, demo=True)

    assert page(console, name).count(f'<li class="warning">{NOTICE}</li>') == 1


@pytest.mark.parametrize(
    "traits", [{"demo": False}, {"demo": True, "silent": True}], ids=["none", "silent"]
)
def test_without_a_living_notice_there_is_no_banner(console, traits):
    SlotFactory(**traits)

    assert 'class="warning"' not in page(console, "admin:index")


def test_strangers_are_told_nothing():
    SlotFactory(demo=True)

    html = page(Client(), "admin:login")

    assert NOTICE not in html


# --- Keys ----------------------------------------------------------------------------


def test_the_secret_of_a_new_key_is_shown_once(console, operator):
    response = console.post(
        reverse("admin:accounts_apikey_add"),
        {
            "owner": operator.pk,
            "name": "captions",
            "scopes": ["read"],
            "expires_at_0": "",
            "expires_at_1": "",
        },
        follow=True,
    )

    html = response.content.decode()
    secrets = re.findall(r"whk_[A-Za-z0-9_-]{43}", html)
    assert len(secrets) == 1
    key = ApiKey.objects.get()
    assert key.digest == digest_of(secrets[0])
    assert (key.name, key.owner, key.scopes) == ("captions", operator, ("read",))
    assert secrets[0] not in page(console, KEYS)
    assert secrets[0] not in page(console, "admin:accounts_apikey_change", key.pk)


def test_a_key_is_revoked(console):
    keys = [ApiKeyFactory(), ApiKeyFactory(revoked=True)]

    said = act(console, KEYS, "revoke", keys)

    assert said == ["1 API key(s) revoked."]
    assert not ApiKey.objects.usable().exists()


def test_an_edited_key_keeps_its_secret_and_owner(console):
    key = ApiKeyFactory()
    stranger = UserFactory()

    console.post(
        reverse("admin:accounts_apikey_change", args=[key.pk]),
        {
            "name": "renamed",
            "owner": stranger.pk,
            "digest": "x",
            "scopes": ["write"],
            "expires_at_0": "",
            "expires_at_1": "",
        },
    )

    row = ApiKey.objects.get()
    assert (row.name, row.owner, row.digest) == ("renamed", key.owner, key.digest)
    assert row.scopes == ("write",)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"scopes": ["read", "admin"]}, "The scope admin is for keys of staff."),
        ({"scopes": []}, "This field is required."),
        ({"scopes": ["root"]}, "Select a valid choice."),
        (
            {"expires_at_0": "2020-01-31", "expires_at_1": "00:00:00"},
            "This moment has passed.",
        ),
    ],
    ids=str,
)
def test_a_key_that_would_open_nothing_is_not_made(console, fields, told):
    form = {"scopes": ["read"], "expires_at_0": "", "expires_at_1": "", **fields}

    response = console.post(
        reverse("admin:accounts_apikey_add"),
        {"owner": UserFactory().pk, "name": "captions", **form},
    )

    assert told in response.content.decode()
    assert not ApiKey.objects.exists()


def test_a_key_is_replaced_and_the_new_secret_shown_once(console):
    key = ApiKeyFactory(scope="read")

    said = act(console, KEYS, "rotate", [key])

    (secret,) = re.findall(r"whk_[A-Za-z0-9_-]{43}", said[0])
    key.refresh_from_db()
    new = ApiKey.objects.get(digest=digest_of(secret))
    assert key.replaced_by == new
    assert (new.owner, new.scopes) == (key.owner, ("read",))
    assert secret in page(console, KEYS)
    assert secret not in page(console, KEYS)


@pytest.mark.parametrize(
    ("traits", "told"),
    [([{}, {}], "Select one API key."), ([{"revoked": True}], "Make a new one")],
    ids=["two", "revoked"],
)
def test_a_key_that_cannot_be_replaced_stays(console, traits, told):
    keys = [ApiKeyFactory(**each) for each in traits]

    said = act(console, KEYS, "rotate", keys)

    assert told in said[0]
    assert ApiKey.objects.count() == len(keys)


def test_keys_are_found_by_state_and_scope(console):
    ApiKeyFactory(name="living", scope="read")
    ApiKeyFactory(name="gone", expired=True)
    ApiKeyFactory(name="shut", revoked=True, expired=True)

    def names(**query: str) -> set[str]:
        html = page(console, KEYS, **query)
        return {name for name in ("living", "gone", "shut") if f">{name}</a>" in html}

    assert names(state="active") == {"living"}
    assert names(state="expired") == {"gone"}
    assert names(state="revoked") == {"shut"}
    assert names(scope="write") == {"gone", "shut"}


def test_moments_are_shown_in_iso_8601(console):
    ApiKeyFactory(expires_at=datetime(2099, 1, 31, 23, 5, 7, tzinfo=UTC))

    assert "2099-01-31T23:05:07Z" in page(console, KEYS)


def test_limits_are_set_for_a_key_and_for_those_rotated_from_it(console):
    key = ApiKeyFactory(unfinished_tasks=5)
    new, _ = rotate_key(key)

    console.post(
        reverse("admin:accounts_apikey_change", args=[key.pk]),
        {
            "name": "captions",
            "scopes": ["read"],
            "expires_at_0": "",
            "expires_at_1": "",
            "requests_per_minute": "60",
            "unfinished_tasks": "",
            "highest_priority": "low",
        },
    )

    for row in ApiKey.objects.filter(quota_account=new.quota_account):
        assert row.limits == {
            "requests_per_minute": 60,
            "audio_seconds_per_day": None,
            "unfinished_tasks": None,
            "highest_priority": "low",
        }
    assert "requests_per_minute=60,highest_priority=low" in page(console, KEYS)


def test_a_new_key_has_the_limits_of_the_form(console, operator):
    response = console.post(
        reverse("admin:accounts_apikey_add"),
        {
            "owner": operator.pk,
            "name": "captions",
            "scopes": ["read"],
            "expires_at_0": "",
            "expires_at_1": "",
            "audio_seconds_per_day": "3600",
            "requests_per_minute": "1000001",
        },
    )

    assert "less than or equal to 1000000" in response.content.decode()
    console.post(
        reverse("admin:accounts_apikey_add"),
        {
            "owner": operator.pk,
            "name": "captions",
            "scopes": ["read"],
            "expires_at_0": "",
            "expires_at_1": "",
            "audio_seconds_per_day": "3600",
        },
    )
    assert ApiKey.objects.get().limits["audio_seconds_per_day"] == 3600


def test_usage_is_shown_and_goes_with_its_owner(console):
    key = ApiKeyFactory()
    usage.charge(key.quota_account_id, key.owner_id, audio_seconds=12.5, tasks=1)
    row = DailyUsage.objects.get()

    assert "12.5" in page(console, "admin:accounts_dailyusage_changelist")
    assert "12.5" in page(console, "admin:accounts_dailyusage_change", row.pk)
    forged = reverse("admin:accounts_dailyusage_change", args=[row.pk])
    assert console.post(forged, {"audio_seconds": "0"}).status_code == 403
    assert console.get(reverse("admin:accounts_dailyusage_add")).status_code == 403
    gone = reverse("admin:accounts_user_delete", args=[key.owner_id])
    assert console.post(gone, {"post": "yes"}).status_code == 302
    assert not DailyUsage.objects.exists()

"""How keys are made, replaced and shut, and the commands for it."""

from __future__ import annotations

import io
import re
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from accounts.errors import KeyNotRotatableError
from accounts.keys import revoke_keys, rotate_key
from accounts.models import ApiKey, digest_of, find_key
from accounts.scopes import Scope, scopes_from_text, scopes_to_text
from tests.integration.databases import in_threads
from tests.support.factories import ApiKeyFactory, UserFactory, ago

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
SECRET = re.compile(r"whk_[A-Za-z0-9_-]{43}")


def run(*words: str) -> tuple[str, str]:
    """What a command prints, and what it says beside it."""
    out, err = io.StringIO(), io.StringIO()
    call_command(*words, stdout=out, stderr=err)
    return out.getvalue().strip(), err.getvalue().strip()


def assert_near(moment: datetime | None, expected: datetime) -> None:
    assert moment is not None
    assert abs(moment - expected) < timedelta(minutes=1)


# --- Scopes --------------------------------------------------------------------------


def test_scopes_are_stored_in_one_form():
    assert scopes_to_text(["write", "read", "read"]) == "read write"
    assert scopes_from_text("admin read") == (Scope.READ, Scope.ADMIN)


def test_a_word_that_is_no_scope_is_not_stored_and_gives_no_right():
    with pytest.raises(ValueError, match="root"):
        scopes_to_text(["read", "root"])

    assert scopes_from_text("root reader read") == (Scope.READ,)


def test_a_key_reads_and_writes_unless_told_otherwise():
    key, _ = ApiKey.issue(UserFactory(operator=True), "tests")

    assert key.scopes == (Scope.READ, Scope.WRITE)


@pytest.mark.django_db(transaction=True)
def test_keys_from_before_read_and_write_and_get_an_id_each():
    latest = MigrationExecutor(connection).loader.graph.leaf_nodes()
    secret = "whk_made_before"
    try:
        old = migrate([("accounts", "0001_initial")])
        owner = old.get_model("accounts", "User").objects.create(
            username="from before", is_staff=True
        )
        keys = old.get_model("accounts", "ApiKey").objects
        for name in (secret, "another"):
            keys.create(owner=owner, name=name, digest=digest_of(name))
    finally:
        migrate(latest)

    key = find_key(secret)
    assert key is not None
    assert key.state == ApiKey.State.ACTIVE
    assert key.scopes == (Scope.READ, Scope.WRITE)
    assert len(set(ApiKey.objects.values_list("public_id", flat=True))) == 2


def migrate(targets: list[Any]) -> Any:
    """Bring the database there, and return the models as they are then."""
    executor = MigrationExecutor(connection)
    executor.migrate(targets)
    return MigrationExecutor(connection).loader.project_state(targets).apps


# --- Rotation ------------------------------------------------------------------------


def test_both_keys_work_until_the_overlap_is_over():
    key = ApiKeyFactory(scope="write")

    new, secret = rotate_key(key, overlap=DAY)

    key.refresh_from_db()
    assert key.state == new.state == ApiKey.State.ACTIVE
    assert_near(key.expires_at, timezone.now() + DAY)
    assert key.replaced_by == new
    assert find_key(secret) == new
    assert (new.owner, new.name, new.scopes) == (key.owner, key.name, ("write",))
    assert new.expires_at is None


def test_an_overlap_of_nothing_ends_the_old_key():
    key = ApiKeyFactory()

    rotate_key(key, overlap=timedelta(0))

    key.refresh_from_db()
    assert key.state == ApiKey.State.EXPIRED


def test_an_overlap_does_not_prolong_a_key():
    end = timezone.now() + timedelta(hours=1)
    key = ApiKeyFactory(expires_at=end)

    rotate_key(key, overlap=DAY)

    key.refresh_from_db()
    assert_near(key.expires_at, end)


def test_the_new_key_lives_as_long_as_the_old_one_was_to():
    key = ApiKeyFactory()
    now = timezone.now()
    ApiKey.objects.update(created_at=now - 80 * DAY, expires_at=now + 10 * DAY)
    key.refresh_from_db()

    new, _ = rotate_key(key)

    assert_near(new.expires_at, now + 90 * DAY)


def test_an_end_beyond_all_calendars_stays():
    end = datetime(9999, 12, 31, tzinfo=UTC)
    key = ApiKeyFactory(expires_at=end)
    ApiKey.objects.update(created_at=timezone.now() - DAY)
    key.refresh_from_db()

    new, _ = rotate_key(key)

    assert new.expires_at == end


@pytest.mark.parametrize(
    "traits", [{"revoked": True}, {"expired": True}], ids=["revoked", "expired"]
)
def test_a_key_that_opens_nothing_is_not_replaced(traits):
    key = ApiKeyFactory(**traits)

    with pytest.raises(KeyNotRotatableError):
        rotate_key(key)

    assert ApiKey.objects.get() == key


def test_of_two_rotations_the_second_makes_no_key():
    key = ApiKeyFactory()
    seen_before = ApiKey.objects.get()
    rotate_key(key)

    with pytest.raises(KeyNotRotatableError):
        rotate_key(seen_before)

    assert ApiKey.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_of_many_rotations_at_once_one_makes_a_key():
    for _ in range(5):
        key, gate = ApiKeyFactory(), threading.Barrier(4)

        def rotate(key=key, gate=gate) -> bool:
            gate.wait()
            try:
                rotate_key(key)
            except KeyNotRotatableError:
                return False
            return True

        won = in_threads([rotate] * 4)

        assert sorted(won) == [False, False, False, True]
        assert ApiKey.objects.filter(owner=key.owner).count() == 2


def test_a_key_revoked_meanwhile_is_not_replaced():
    key = ApiKeyFactory()
    revoke_keys(ApiKey.objects.all())

    with pytest.raises(KeyNotRotatableError):
        rotate_key(key)

    assert ApiKey.objects.get().revoked_at


def test_revoking_keeps_the_first_moment():
    key = ApiKeyFactory(revoked=True)

    assert revoke_keys(ApiKey.objects.all()) == 0

    assert ApiKey.objects.get().revoked_at == key.revoked_at


def test_a_key_outlives_the_one_that_replaced_it():
    key = ApiKeyFactory()
    new, _ = rotate_key(key)

    new.delete()

    key.refresh_from_db()
    assert key.replaced_by is None


# --- Commands ------------------------------------------------------------------------


def test_a_key_is_made_on_the_command_line():
    owner = UserFactory(username="captions")

    secret, beside = run(
        *("createapikey", "captions", "--name", "night run"),
        *("--scope", "write", "--scope", "read", "--expires", "90d"),
    )

    assert SECRET.fullmatch(secret)
    assert beside == ""
    key = ApiKey.objects.get(digest=digest_of(secret))
    assert (key.owner, key.name, key.scope) == (owner, "night run", "read write")
    assert_near(key.expires_at, timezone.now() + 90 * DAY)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("2999-01-31", datetime(2999, 1, 31, tzinfo=UTC)),
        ("2999-01-31T12:30", datetime(2999, 1, 31, 12, 30, tzinfo=UTC)),
        ("2999-01-31T12:30:00+02:00", datetime(2999, 1, 31, 10, 30, tzinfo=UTC)),
    ],
)
def test_an_expiry_is_a_date_or_a_moment_in_utc(words, expected):
    run("createapikey", UserFactory().username, "--expires", words)

    assert ApiKey.objects.get().expires_at == expected


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--expires", "2020-01-31"], "has passed"),
        (["--expires", "soon"], "no date"),
        (["--expires", "999999999w"], "no date"),
        (["--scope", "root"], "root"),
        (["--scope", "admin"], "staff"),
    ],
    ids=str,
)
def test_a_key_that_makes_no_sense_is_refused(options, told):
    with pytest.raises(CommandError, match=told):
        run("createapikey", UserFactory().username, *options)

    assert not ApiKey.objects.exists()


def test_a_key_of_staff_may_have_the_scope_admin():
    run("createapikey", UserFactory(operator=True).username, "--scope", "admin")

    assert ApiKey.objects.get().scopes == ("admin",)


def test_keys_are_listed_without_secrets():
    key = ApiKeyFactory(
        owner__username="captions",
        expires_at=datetime(2999, 1, 31, tzinfo=UTC),
        last_used_at=ago(0),
    )
    other, old = ApiKeyFactory(), ApiKeyFactory(owner=key.owner, expired=True)

    everybody, _ = run("listapikeys")
    one, _ = run("listapikeys", "captions")
    with_old, _ = run("listapikeys", "captions", "--all")

    assert key.secret not in everybody
    for text in (key.prefix, "captions", "read,write", "2999-01-31T00:00:00Z"):
        assert text in one
    assert f"{key.last_used_at:%Y-%m-%dT%H:%M}" in one
    assert [str(each.public_id) in everybody for each in (key, other, old)] == [
        *(True, True, False)
    ]
    assert [str(each.public_id) in one for each in (key, other, old)] == [
        *(True, False, False)
    ]
    assert [str(each.public_id) in with_old for each in (key, other, old)] == [
        *(True, False, True)
    ]


def test_a_key_is_replaced_on_the_command_line():
    _, first = ApiKey.issue(UserFactory(), "tests")
    key = ApiKey.objects.get()

    secret, beside = run("rotateapikey", key.prefix, "--overlap", "7d")

    assert SECRET.fullmatch(secret)
    assert find_key(secret) == ApiKey.objects.get(replaces=key)
    key.refresh_from_db()
    assert_near(key.expires_at, timezone.now() + 7 * DAY)
    assert f"{key.expires_at:%Y-%m-%dT%H:%M:%SZ}" in beside
    assert first not in beside
    with pytest.raises(CommandError, match="Make a new one"):
        run("rotateapikey", str(key.public_id))


@pytest.mark.parametrize("overlap", ["-1d", "1", "999999999w", "999999d9"])
def test_an_overlap_that_is_none_is_refused(overlap):
    key = ApiKeyFactory()

    with pytest.raises(CommandError):
        run("rotateapikey", str(key.public_id), f"--overlap={overlap}")

    assert ApiKey.objects.count() == 1


@pytest.mark.parametrize("by", ["public_id", "prefix", "secret"])
def test_a_key_is_shut_by_what_is_known_of_it(by):
    key, other = (ApiKeyFactory(secret=f"whk_{letter * 43}") for letter in ("a", "b"))

    said, _ = run("revokeapikey", str(getattr(key, by)))
    again, _ = run("revokeapikey", str(getattr(key, by)))

    assert said.endswith("is revoked.")
    assert again.endswith("was already revoked.")
    assert key.secret not in said
    assert list(ApiKey.objects.usable()) == [other]


@pytest.mark.parametrize("command", ["rotateapikey", "revokeapikey"])
@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("whk_unknown1", "no such key"),
        ("x", "no such key"),
        ("whk_twice123", "Several"),
    ],
)
def test_a_key_that_is_not_found_is_left_alone(command, reference, told):
    keys: list[Any] = [
        ApiKeyFactory(secret=f"whk_twice123{end}") for end in ("one", "two")
    ]

    with pytest.raises(CommandError, match=told):
        run(command, reference)

    assert ApiKey.objects.usable().count() == len(keys)


# --- Limits --------------------------------------------------------------------------


def test_limits_are_set_shown_and_kept_on_the_command_line():
    owner = UserFactory(username="captions")
    run(
        *("createapikey", "captions", "--requests-per-minute", "60"),
        *("--highest-priority", "normal", "--unfinished-tasks", "0"),
    )
    key = ApiKey.objects.get(owner=owner)
    listed, _ = run("listapikeys", "captions")
    text = "requests_per_minute=60,unfinished_tasks=0,highest_priority=normal"
    assert text in listed

    run("rotateapikey", key.prefix, "--unfinished-tasks", "7")

    rotated = ApiKey.objects.filter(quota_account=key.quota_account)
    assert rotated.count() == 2
    assert set(rotated.values_list("unfinished_tasks", "requests_per_minute")) == {
        (7, 60)
    }


def test_limits_of_a_key_are_changed_on_the_command_line():
    key = ApiKeyFactory(requests_per_minute=60, audio_seconds_per_day=9)

    said, _ = run(
        *("limitapikey", key.prefix, "--requests-per-minute", "default"),
        *("--highest-priority", "low"),
    )

    assert said.endswith(": audio_seconds_per_day=9,highest_priority=low")
    key.refresh_from_db()
    assert (key.requests_per_minute, key.highest_priority) == (None, "low")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "at least one"),
        (["--unfinished-tasks", "-1"], "unfinished-tasks"),
        (["--unfinished-tasks", "2147483648"], "no whole number"),
        (["--requests-per-minute", "1000001"], "no whole number"),
        (["--audio-seconds-per-day", "an hour"], "no whole number"),
        (["--highest-priority", "urgent"], "none of"),
    ],
    ids=str,
)
def test_a_limit_that_is_none_is_refused(options, told):
    key = ApiKeyFactory()

    with pytest.raises(CommandError, match=told):
        run("limitapikey", key.prefix, *options)

    key.refresh_from_db()
    assert set(key.limits.values()) == {None}


@pytest.mark.django_db(transaction=True)
def test_keys_that_were_rotated_before_there_were_limits_share_an_account():
    latest = MigrationExecutor(connection).loader.graph.leaf_nodes()
    try:
        old = migrate([("accounts", "0006_apikey_replaced_by")])
        owner = old.get_model("accounts", "User").objects.create(username="before")
        keys = old.get_model("accounts", "ApiKey").objects
        third, second, first = (
            keys.create(owner=owner, name=name, digest=name)
            for name in ("third", "second", "first")
        )
        keys.create(owner=owner, name="other", digest="other")
        # Made in another order than they were rotated in, as an import may leave them.
        keys.filter(pk=second.pk).update(replaced_by=third)
        keys.filter(pk=first.pk).update(replaced_by=second)
    finally:
        migrate(latest)

    accounts = {key.name: key.quota_account_id for key in ApiKey.objects.all()}
    assert None not in accounts.values()
    assert accounts["first"] == accounts["second"] == accounts["third"]
    assert accounts["other"] != accounts["first"]

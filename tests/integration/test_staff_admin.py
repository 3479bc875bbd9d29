"""What staff who are no superusers may do in the admin."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse

from accounts.models import ApiKey, User
from tests.support.factories import (
    ApiKeyFactory,
    CallbackFactory,
    CallbackSecretFactory,
    TaskFactory,
    UserFactory,
)

pytestmark = pytest.mark.django_db

VERBS = ("view", "add", "change", "delete")
FORM = {"name": "x", "scopes": ["read"], "expires_at_0": "", "expires_at_1": ""}


def console(*models: str, verbs: tuple[str, ...] = VERBS) -> Client:
    """A browser of staff with these permissions on these models."""
    permissions = [f"{verb}_{model}" for verb in verbs for model in models]
    browser = Client()
    browser.force_login(
        UserFactory(username="staffer", is_staff=True, permissions=permissions)
    )
    return browser


def said(browser: Client, response: Any) -> list[str]:
    """What the next page says, which nobody is told twice."""
    told = [str(message) for message in get_messages(response.wsgi_request)]
    browser.get(reverse("admin:accounts_apikey_changelist"))
    return told


def act(browser: Client, action: str, *keys: ApiKey) -> list[str]:
    address = reverse("admin:accounts_apikey_changelist")
    chosen = [key.pk for key in keys]
    return said(
        browser,
        browser.post(address, {"action": action, "_selected_action": chosen}),
    )


@pytest.mark.parametrize(
    ("model", "column", "make"),
    [
        ("callbacksecret", "secret", CallbackSecretFactory),
        ("transcriptiontask", "callback_headers", TaskFactory),
        ("callback", "headers", CallbackFactory),
        ("transcriptiontask", "lease_token", TaskFactory),
    ],
)
def test_columns_that_no_page_shows_answer_no_question(model, column, make):
    make()
    browser = console(model, verbs=("view",))
    address = reverse(f"admin:transcription_{model}_changelist")

    for lookup in ("startswith", "contains", "regex", "isnull"):
        response = browser.get(address, {f"{column}__{lookup}": "1"})
        assert response.status_code == 400, lookup
    assert browser.get(address).status_code == 200


def test_the_digest_of_a_key_answers_no_question():
    ApiKeyFactory()
    browser = console("apikey")
    address = reverse("admin:accounts_apikey_changelist")

    assert browser.get(address, {"digest__startswith": "a"}).status_code == 400
    assert browser.get(address, {"name__startswith": "a"}).status_code == 200


@pytest.mark.parametrize("field", ["is_superuser", "is_staff"])
def test_staff_who_may_change_users_give_themselves_no_rights(field):
    browser = console("user", "group")
    me, other = User.objects.get(username="staffer"), UserFactory(username="bob")

    for user in (me, other):
        browser.post(
            reverse("admin:accounts_user_change", args=[user.pk]),
            {
                "username": user.username,
                "is_active": "on",
                field: "on",
                "user_permissions": ["1"],
                "date_joined_0": "2026-01-01",
                "date_joined_1": "00:00:00",
                "first_name": "changed",
            },
        )

    for user in (me, other):
        before = (user.is_superuser, user.is_staff, user.user_permissions.count())
        user.refresh_from_db()
        assert user.first_name == "changed"
        assert (user.is_superuser, user.is_staff, user.user_permissions.count()) == (
            before
        )


def test_staff_who_may_change_groups_change_nobodys_rights():
    browser = console("group")

    added = browser.post(
        reverse("admin:auth_group_add"), {"name": "mine", "permissions": ["1"]}
    )

    assert added.status_code == 403
    assert browser.get(reverse("admin:auth_group_changelist")).status_code == 200


@pytest.mark.parametrize(
    "rights", [{"is_superuser": True}, {"permissions": ("delete_apikey",)}], ids=str
)
def test_an_account_with_more_rights_keeps_password_and_life(rights):
    browser = console("user")
    above = UserFactory(username="above", is_staff=True, **rights)
    above.set_password("as it was")
    above.save()
    password = {"password1": "Kx7-other-one", "password2": "Kx7-other-one"}

    answers = [
        browser.post(
            reverse("admin:auth_user_password_change", args=[above.pk]),
            {**password, "usable_password": "true"},
        ),
        browser.post(
            reverse("admin:accounts_user_change", args=[above.pk]), {"username": "x"}
        ),
        browser.post(
            reverse("admin:accounts_user_delete", args=[above.pk]), {"post": "yes"}
        ),
    ]
    browser.post(
        reverse("admin:accounts_user_changelist"),
        {"action": "delete_selected", "_selected_action": [above.pk], "post": "yes"},
    )

    assert [answer.status_code for answer in answers] == [403] * 3
    above.refresh_from_db()
    assert above.username == "above"
    assert above.check_password("as it was")


def test_a_superuser_gives_rights():
    browser = Client()
    browser.force_login(UserFactory(operator=True))
    bob = UserFactory(username="bob")

    browser.post(
        reverse("admin:accounts_user_change", args=[bob.pk]),
        {
            "username": "bob",
            "is_staff": "on",
            "is_active": "on",
            "date_joined_0": "2026-01-01",
            "date_joined_1": "00:00:00",
        },
    )

    bob.refresh_from_db()
    assert bob.is_staff


def test_staff_with_permissions_manage_keys_of_their_equals_and_below():
    browser = console("apikey")
    key = ApiKeyFactory()

    made = browser.post(
        reverse("admin:accounts_apikey_add"), {**FORM, "owner": key.owner.pk}
    )
    (shown, *_others) = said(browser, made)
    (told,) = act(browser, "rotate", key)

    assert "whk_" in shown
    assert "whk_" in told
    assert act(browser, "revoke", key) == ["1 API key(s) revoked."]


def test_staff_with_permissions_touch_no_key_of_a_superuser():
    browser = console("apikey")
    root = UserFactory(operator=True)
    key, other = ApiKeyFactory(owner=root, expired=True), ApiKeyFactory()
    change = reverse("admin:accounts_apikey_change", args=[key.pk])

    made = browser.post(
        reverse("admin:accounts_apikey_add"), {**FORM, "owner": root.pk}
    )
    edited = browser.post(change, {**FORM, "scopes": ["read", "admin"]})
    (rotated,) = act(browser, "rotate", key)
    revoked = act(browser, "revoke", key, other)
    browser.post(
        reverse("admin:accounts_apikey_delete", args=[key.pk]), {"post": "yes"}
    )

    assert "has rights that yours lacks" in made.content.decode()
    assert edited.status_code == 403
    assert "has rights that yours lacks" in rotated
    assert revoked == [
        "1 API key(s) revoked.",
        "1 API key(s) belong to accounts with rights that yours lacks.",
    ]
    kept = ApiKey.objects.get(owner=root)
    assert (kept.scope, kept.revoked_at) == ("read write", None)
    assert browser.get(change).status_code == 200

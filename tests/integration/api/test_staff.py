"""What staff may do to others over the API: Django's permissions, and no rank above."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.models import ApiKey, User
from tests.integration.api.conftest import TASKS, client_with
from tests.support.factories import ApiKeyFactory, TaskFactory, UserFactory
from tests.support.problems import read_problem

pytestmark = pytest.mark.django_db

KEYS = "/api/v1/keys/"
USAGE = "/api/v1/usage/"


def staff(*permissions: str, scope: str = "read write admin") -> APIClient:
    person = UserFactory(username="staffer", is_staff=True, permissions=permissions)
    return client_with(ApiKeyFactory(owner=person, name="mine", scope=scope).secret)


@pytest.fixture
def ann(db: None) -> User:
    """An owner with a key and a transcript."""
    user: User = UserFactory(username="ann")
    ApiKeyFactory(owner=user, name="hers")
    TaskFactory(owner=user, completed=True)
    return user


def test_staff_without_permissions_get_no_key_of_others(ann):
    client = staff()

    for body in ({"owner": "ann"}, {"owner": "ann", "scopes": ["read"]}):
        response = client.post(KEYS, {"name": "backdoor", **body})
        detail = read_problem(response, 403, "permission_required")["detail"]
        assert "accounts.add_apikey" in detail

    assert ann.api_keys.count() == 1


@pytest.mark.parametrize("path", [KEYS, TASKS, USAGE])
def test_whether_a_name_is_taken_is_not_told_without_permission(ann, path):
    client = staff()

    answers = [client.get(path, {"owner": name}) for name in ("ann", "nobody")]

    details = [read_problem(a, 403, "permission_required")["detail"] for a in answers]
    assert details[0] == details[1]
    assert client.get(path, {"owner": "staffer"}).status_code == 200


@pytest.mark.parametrize(
    ("path", "permission"),
    [
        (KEYS, "view_apikey"),
        (TASKS, "view_transcriptiontask"),
        (USAGE, "view_dailyusage"),
    ],
)
def test_what_belongs_to_others_is_shown_with_the_permission(ann, path, permission):
    client = staff(permission)

    assert client.get(path, {"owner": "ann"}).status_code == 200
    read_problem(client.get(path, {"owner": "nobody"}), 400, "invalid")


@pytest.mark.parametrize("owner", [" ", "\t", ""], ids=repr)
def test_a_name_of_blanks_lists_ones_own_keys(ann, owner):
    for client in (staff(), client_with(_superuser_key())):
        listed = client.get(KEYS, {"owner": owner}).json()["results"]

        assert [key["name"] for key in listed] == ["mine"]


def _superuser_key() -> str:
    root = UserFactory(username="root", operator=True)
    secret: str = ApiKeyFactory(owner=root, name="mine", all_scopes=True).secret
    return secret


def test_the_scope_admin_reads_no_tasks_and_makes_no_key_that_does(ann):
    client = client_with(
        ApiKeyFactory(owner=UserFactory(operator=True), scope="admin").secret
    )

    read_problem(client.get(TASKS), 403, "insufficient_scope")
    for fields in (
        {},
        {"owner": "ann"},
        {"scopes": ["read"]},
        {"owner": "ann", "scopes": ["write"]},
    ):
        refused = client.post(KEYS, {"name": "backdoor", **fields})
        read_problem(refused, 403, "scope_not_held")
    hers = ann.api_keys.get()
    rotated = client.post(f"{KEYS}{hers.public_id}/rotate/")
    read_problem(rotated, 403, "scope_not_held")
    assert client.post(KEYS, {"name": "more", "scopes": ["admin"]}).status_code == 201


def every_key_permission() -> tuple[str, ...]:
    return tuple(f"{verb}_apikey" for verb in ("view", "add", "change", "delete"))


@pytest.mark.parametrize(
    "rights",
    [
        {"is_superuser": True},
        {"is_superuser": True, "is_active": False},
        {"permissions": ("delete_user",)},
    ],
    ids=str,
)
def test_nobody_makes_or_touches_a_key_of_who_has_more_rights(rights):
    above = UserFactory(username="above", is_staff=True, **rights)
    key = ApiKeyFactory(owner=above, revoked=True)
    client = staff(*every_key_permission())
    address = f"{KEYS}{key.public_id}/"

    tried: dict[str, Any] = {
        "make": client.post(KEYS, {"name": "backdoor", "owner": "above"}),
        "rotate": client.post(f"{address}rotate/"),
        "revoke": client.post(f"{address}revoke/"),
        "limit": client.patch(address, {"limits": {"unfinished_tasks": 1}}),
        "delete": client.delete(address),
    }

    for response in tried.values():
        read_problem(response, 403, "owner_has_more_rights")
    assert above.api_keys.get().digest == key.digest
    assert client.get(address).json()["owner"] == "above"


def test_permissions_of_groups_count_on_both_sides(ann, django_user_model):
    from django.contrib.auth.models import Group, Permission

    group = Group.objects.create(name="provisioning")
    group.permissions.set(Permission.objects.filter(codename="add_apikey"))
    client = staff()
    django_user_model.objects.get(username="staffer").groups.add(group)
    peer = UserFactory(username="peer", is_staff=True)
    peer.groups.add(group)

    for owner in ("ann", "peer"):
        made = client.post(KEYS, {"name": "theirs", "owner": owner})
        assert made.status_code == 201, made.content
    group.permissions.add(Permission.objects.get(codename="delete_user"))
    peer.groups.clear()
    peer.user_permissions.add(Permission.objects.get(codename="add_user"))
    refused = client.post(KEYS, {"name": "theirs", "owner": "peer"})
    read_problem(refused, 403, "owner_has_more_rights")


def test_staff_do_not_lift_their_own_limits_without_permission():
    client = staff()
    mine = ApiKey.objects.get(name="mine")
    lifted = {"limits": {"unfinished_tasks": 0}}

    read_problem(
        client.patch(f"{KEYS}{mine.public_id}/", lifted), 403, "permission_required"
    )
    read_problem(
        client.post(KEYS, {"name": "free", **lifted}), 403, "permission_required"
    )
    assert client.post(KEYS, {"name": "plain"}).status_code == 201

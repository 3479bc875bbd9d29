"""Every operation of the API, with what the tests of permissions need to call it.

A new operation gets a row here; test_permissions.py beside it fails without.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile

from accounts.models import User
from accounts.scopes import Scope
from tests.support.factories import ApiKeyFactory, CallbackFactory, TaskFactory


@dataclass(frozen=True)
class Operation:
    """How to call an operation, and what who may call it is answered.

    Attributes:
        scope: what a key needs.
        status: of the answer.
        target: makes what the address names for this owner, and returns the values of
            the address's parameters; None: the address has none.
        body: makes the fields to send; files among them make a form of it.
        of_all_owners: whether it reaches what belongs to others.
        permission: of Django, that staff need for what belongs to others.
        own_too: whether they need it for their own as well.
        only_looks: whether a superuser's may be its target too.
        shows_secret: whether it makes a key, of the ordinary scopes.
    """

    scope: Scope
    status: int
    target: Callable[[User], dict[str, Any]] | None = None
    body: Callable[[], dict[str, Any]] = field(default=dict)
    of_all_owners: bool = False
    permission: str = ""
    own_too: bool = False
    only_looks: bool = False
    shows_secret: bool = False


def task(**traits: Any) -> Callable[[User], dict[str, Any]]:
    """A task of the owner."""
    return lambda owner: {"public_id": TaskFactory(owner=owner, **traits).public_id}


def key(owner: User) -> dict[str, Any]:
    """A key of the owner, besides the one that asks."""
    return {"public_id": ApiKeyFactory(owner=owner).public_id}


def of_keys(status: int, permission: str, **others: Any) -> Operation:
    """An operation on a key; staff may have it for the keys of all owners."""
    return Operation(
        Scope.ADMIN, status, key, of_all_owners=True, permission=permission, **others
    )


def callback(owner: User) -> dict[str, Any]:
    """A callback of the owner, that was given up."""
    told = CallbackFactory(task=TaskFactory(owner=owner), undeliverable=True)
    return {"public_id": told.public_id}


def moments() -> dict[str, Any]:
    """A time in which nothing was given up."""
    day = "2020-01-{:02}T00:00:00Z"
    return {"created_after": day.format(1), "created_before": day.format(2)}


def recording() -> dict[str, Any]:
    """A form with a file."""
    return {"file": SimpleUploadedFile("speech.wav", b"sound")}


OPERATIONS: dict[str, Operation] = {
    # It would wait for its answer: a form without a file shows as well who gets in.
    "POST /api/v1/detect-language/": Operation(Scope.WRITE, 400),
    "GET /api/v1/models/": Operation(Scope.READ, 200),
    "GET /api/v1/tasks/": Operation(Scope.READ, 200),
    "POST /api/v1/tasks/": Operation(Scope.WRITE, 201, body=recording),
    "GET /api/v1/tasks/{public_id}/": Operation(Scope.READ, 200, task()),
    "DELETE /api/v1/tasks/{public_id}/": Operation(Scope.WRITE, 204, task()),
    "PATCH /api/v1/tasks/{public_id}/": Operation(
        Scope.WRITE, 200, task(), body=lambda: {"priority": "high"}
    ),
    "POST /api/v1/tasks/{public_id}/cancel/": Operation(Scope.WRITE, 200, task()),
    # It shows as well who gets in.
    "POST /api/v1/tasks/{public_id}/retry/": Operation(Scope.WRITE, 409, task()),
    "GET /api/v1/tasks/{public_id}/result/": Operation(
        Scope.READ, 200, task(completed=True)
    ),
    "GET /api/v1/tasks/{public_id}/subtitles/": Operation(
        Scope.READ, 200, task(completed=True)
    ),
    "GET /api/v1/tasks/{public_id}/callbacks/": Operation(Scope.READ, 200, task()),
    "GET /api/v1/callbacks/": Operation(Scope.READ, 200),
    "GET /api/v1/callbacks/{public_id}/": Operation(Scope.READ, 200, callback),
    "POST /api/v1/callbacks/{public_id}/replay/": Operation(Scope.WRITE, 202, callback),
    "POST /api/v1/callbacks/replay/": Operation(Scope.WRITE, 202, body=moments),
    "POST /api/v1/callbacks/test/": Operation(
        Scope.WRITE, 202, body=lambda: {"callback_url": "https://example.org/hook"}
    ),
    # Who has it can sign in our name.
    "GET /api/v1/callbacks/secret/": Operation(Scope.WRITE, 200),
    "POST /api/v1/callbacks/secret/rotate/": Operation(Scope.WRITE, 200),
    "GET /api/v1/keys/": Operation(Scope.ADMIN, 200),
    "POST /api/v1/keys/": Operation(
        Scope.ADMIN, 201, body=lambda: {"name": "new"}, shows_secret=True
    ),
    "GET /api/v1/keys/{public_id}/": of_keys(200, "view_apikey", only_looks=True),
    "PATCH /api/v1/keys/{public_id}/": of_keys(
        200, "change_apikey", own_too=True, body=lambda: {"limits": {}}
    ),
    "DELETE /api/v1/keys/{public_id}/": of_keys(204, "delete_apikey"),
    "GET /api/v1/keys/{public_id}/usage/": of_keys(
        200, "view_dailyusage", only_looks=True
    ),
    "POST /api/v1/keys/{public_id}/rotate/": of_keys(
        201, "add_apikey", shows_secret=True
    ),
    "POST /api/v1/keys/{public_id}/revoke/": of_keys(200, "change_apikey"),
    "GET /api/v1/usage/": Operation(Scope.READ, 200),
}

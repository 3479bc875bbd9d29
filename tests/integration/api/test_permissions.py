"""Who may call what: every operation of the document for every kind of caller."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.core.files.uploadedfile import UploadedFile
from django.urls import URLPattern, URLResolver, get_resolver
from drf_spectacular.generators import SchemaGenerator
from rest_framework.test import APIClient

from accounts.models import ApiKey, User
from accounts.openapi import REQUIRED_SCOPE
from accounts.permissions import HasScope
from accounts.scopes import ORDINARY, Scope
from tests.integration.api.conftest import client_with
from tests.integration.api.operations import OPERATIONS, Operation
from tests.support.factories import ApiKeyFactory, UserFactory
from tests.support.problems import read_problem
from transcription.models import TranscriptionTask

pytestmark = [pytest.mark.django_db, pytest.mark.one_database]

READ, WRITE, ADMIN = Scope.READ, Scope.WRITE, Scope.ADMIN
ALL = ("every permission",)
KEY_PERMISSIONS = tuple(f"{verb}_apikey" for verb in ("view", "add", "change"))


@dataclass(frozen=True)
class Caller:
    """One column of the matrix.

    Attributes:
        enter: makes a client that acts for this owner.
        refused: the code of the 401 that it always gets; empty: it is known.
        scopes: what it may do.
        is_staff: whether the owner is.
        is_other: whether it acts for somebody else than the owner.
        permissions: of Django, that its account has; ALL: those of a superuser.
        of_superuser: whether the owner is a superuser.
    """

    enter: Callable[[User], APIClient]
    refused: str = ""
    scopes: tuple[Scope, ...] = (READ, WRITE, ADMIN)
    is_staff: bool = False
    is_other: bool = False
    permissions: tuple[str, ...] = ()
    of_superuser: bool = False

    def expected(self, operation: Operation) -> tuple[int, str]:
        """Status and code of the answer; no code: that of who may."""
        if self.refused:
            return 401, self.refused
        if operation.scope not in self.scopes:
            return 403, "insufficient_scope"
        if operation.scope == ADMIN and not self.is_staff:
            return 403, "staff_only"
        if self.is_other and operation.target and not operation.of_all_owners:
            return 404, "not_found"
        if code := self.lack(operation):
            return 403, code
        return operation.status, ""

    def lack(self, operation: Operation) -> str:
        """The code of what staff are refused; empty: nothing."""
        is_superuser = self.permissions == ALL
        asks = operation.permission and (self.is_other or operation.own_too)
        if asks and not is_superuser:
            if operation.permission not in self.permissions:
                return "permission_required"
            if self.of_superuser and not operation.only_looks:
                return "owner_has_more_rights"
        if operation.shows_secret and not {*ORDINARY} <= {*self.scopes}:
            return "scope_not_held"
        return ""


def with_key(*scopes: Scope, **traits: Any) -> Callable[[User], APIClient]:
    def enter(owner: User) -> APIClient:
        scope = " ".join(scopes or Scope)
        return client_with(ApiKeyFactory(owner=owner, scope=scope, **traits).secret)

    return enter


def of_another(
    *permissions: str, scopes: tuple[Scope, ...] = (), **rights: bool
) -> Callable[[User], APIClient]:
    def enter(owner: User) -> APIClient:
        return with_key(*scopes)(UserFactory(permissions=permissions, **rights))

    return enter


def in_closed_account(owner: User) -> APIClient:
    owner.is_active = False
    owner.save()
    return with_key()(owner)


def with_session(owner: User) -> APIClient:
    browser = APIClient(raise_request_exception=False)
    browser.force_login(owner)
    return browser


CALLERS: dict[str, Caller] = {
    "no key": Caller(lambda owner: APIClient(), refused="not_authenticated"),
    "wrong key": Caller(
        lambda owner: client_with("whk_wrong"), refused="invalid_api_key"
    ),
    "expired": Caller(with_key(expired=True), refused="api_key_expired"),
    "revoked": Caller(with_key(revoked=True), refused="api_key_revoked"),
    "closed account": Caller(in_closed_account, refused="account_closed"),
    "read": Caller(with_key(READ), scopes=(READ,), is_staff=True),
    "write": Caller(with_key(WRITE), scopes=(WRITE,), is_staff=True),
    "admin": Caller(with_key(ADMIN), scopes=(ADMIN,), is_staff=True),
    "all of no staff": Caller(with_key()),
    "all of staff": Caller(with_key(), is_staff=True),
    "other owner": Caller(of_another(), is_other=True),
    "superuser": Caller(
        of_another(operator=True), is_staff=True, is_other=True, permissions=ALL
    ),
    "superuser, superuser's": Caller(
        of_another(operator=True),
        is_staff=True,
        is_other=True,
        permissions=ALL,
        of_superuser=True,
    ),
    "superuser, admin only": Caller(
        of_another(operator=True, scopes=(ADMIN,)),
        scopes=(ADMIN,),
        is_staff=True,
        is_other=True,
        permissions=ALL,
    ),
    "staff without permissions": Caller(
        of_another(is_staff=True), is_staff=True, is_other=True
    ),
    **{
        f"staff who may {name}": Caller(
            of_another(name, is_staff=True),
            is_staff=True,
            is_other=True,
            permissions=(name,),
        )
        for name in (*KEY_PERMISSIONS, "delete_apikey", "view_dailyusage")
    },
    "staff with permissions, superuser's": Caller(
        of_another(*KEY_PERMISSIONS, "delete_apikey", is_staff=True),
        is_staff=True,
        is_other=True,
        permissions=(*KEY_PERMISSIONS, "delete_apikey"),
        of_superuser=True,
    ),
    "session": Caller(with_session),
    "session of staff": Caller(with_session, is_staff=True),
}


def documented() -> dict[str, dict[str, Any]]:
    """The operations of the OpenAPI document, named as in OPERATIONS."""
    paths = SchemaGenerator().get_schema(request=None, public=True)["paths"]
    return {
        f"{method.upper()} {path}": operation
        for path, methods in paths.items()
        for method, operation in methods.items()
    }


def call(client: APIClient, name: str, target: dict[str, Any]) -> Any:
    method, _, path = name.partition(" ")
    body = OPERATIONS[name].body()
    has_file = any(isinstance(value, UploadedFile) for value in body.values())
    return getattr(client, method.lower())(
        path.format(**target),
        **({"data": body} if body else {}),
        format="multipart" if has_file else "json",
    )


def rows() -> list[Any]:
    """What a refused request may not change."""
    keys = ApiKey.objects.order_by("pk").values(
        "pk", "digest", "scope", "expires_at", "revoked_at"
    )
    return [*keys, *TranscriptionTask.objects.order_by("pk").values()]


def test_every_operation_of_the_document_has_a_row():
    assert set(OPERATIONS) == set(documented())


def test_the_document_names_the_scope_of_each_operation():
    for name, operation in documented().items():
        scope = OPERATIONS[name].scope.value
        assert operation[REQUIRED_SCOPE] == scope, name
        assert operation["description"].endswith(f"Needs the scope `{scope}`."), name
        assert operation["security"] == [{"apiKey": []}, {"cookieAuth": []}], name
        assert {"401", "403"} <= set(operation["responses"]), name


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("kind", CALLERS)
def test_who_may_call_what(name, kind, no_hints):
    operation, caller = OPERATIONS[name], CALLERS[kind]
    owner = UserFactory(
        is_staff=caller.is_staff and not caller.is_other,
        is_superuser=caller.of_superuser,
    )
    target = operation.target(owner) if operation.target else {}
    client = caller.enter(owner)
    before = rows()

    response = call(client, name, target)

    status, code = caller.expected(operation)
    if not code:
        assert response.status_code == status, response.content
        return
    read_problem(response, status, code)
    assert rows() == before
    challenge = response.headers.get("WWW-Authenticate")
    if code == "insufficient_scope":
        assert challenge == (
            'Bearer realm="WhisperHub", error="insufficient_scope", '
            f'scope="{operation.scope.value}"'
        )
    elif code == "not_authenticated":
        assert challenge == 'Bearer realm="WhisperHub"'
    elif status == 401:
        assert challenge == 'Bearer realm="WhisperHub", error="invalid_token"'
    else:
        assert challenge is None


@pytest.mark.parametrize(
    ("path", "method", "scope"),
    [
        ("/api/v1/tasks/", "head", READ),
        ("/api/v1/tasks/", "options", READ),
        ("/api/v1/tasks/", "put", WRITE),
        ("/api/v1/keys/", "head", ADMIN),
        ("/api/v1/keys/", "options", ADMIN),
    ],
)
def test_methods_outside_the_document_ask_for_a_scope_too(path, method, scope):
    for given in Scope:
        staff = UserFactory(is_staff=True)
        response = getattr(with_key(given)(staff), method)(path)

        assert (response.status_code == 403) == (given != scope)


def api_views() -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []

    def walk(patterns: Any, prefix: str) -> None:
        for item in patterns:
            address = prefix + str(item.pattern)
            if isinstance(item, URLResolver):
                walk(item.url_patterns, address)
            elif isinstance(item, URLPattern) and address.startswith("api/"):
                found.append((address, getattr(item.callback, "cls", None)))

    walk(get_resolver().url_patterns, "")
    return found


def test_no_view_of_the_api_is_open_but_its_document():
    views = dict(api_views())

    views.pop("api/v1/schema/")
    assert len(views) > 5
    for address, view in views.items():
        assert view is not None, address
        assert view.permission_classes == [HasScope], address

"""Clients of the REST API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient

from accounts.models import User
from tests.support.factories import ApiKeyFactory, UserFactory

TASKS = "/api/v1/tasks/"


@pytest.fixture
def owner(db: None) -> User:
    """Who the client's key belongs to."""
    user: User = UserFactory()
    return user


@pytest.fixture
def client(owner: User) -> APIClient:
    """A client with a usable key."""
    return client_with(ApiKeyFactory(owner=owner).secret)


@pytest.fixture
def stranger(db: None) -> APIClient:
    """A client with no key."""
    return APIClient(raise_request_exception=False)


def client_with(secret: str) -> APIClient:
    """A client that sends this key."""
    client = APIClient(raise_request_exception=False)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    return client


@pytest.fixture
def submit(client: APIClient, no_hints: list[int]) -> Callable[..., Any]:
    """Send a recording with these fields."""

    def send(content: bytes | None = b"sound", **fields: Any) -> Any:
        data = dict(fields)
        if content is not None:
            name = data.pop("file_name", "speech.wav")
            data["file"] = SimpleUploadedFile(name, content)
        return client.post(TASKS, data, format="multipart")

    return send

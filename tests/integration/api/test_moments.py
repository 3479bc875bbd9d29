"""Moments in the address of any list: an unencoded + is explained."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.openapi import read_document
from tests.support.problems import read_problem

pytestmark = pytest.mark.django_db

# Lists whose filters are moments, counted by hand.
MOMENTS = 6


def filters_by_moment(client: Any) -> list[tuple[str, str]]:
    """Path and name of each query parameter that is a moment."""
    return [
        (path, parameter["name"])
        for path, methods in read_document(client)["paths"].items()
        for parameter in methods.get("get", {}).get("parameters", ())
        if parameter["in"] == "query"
        and parameter["schema"].get("format") == "date-time"
    ]


def test_an_unencoded_plus_is_explained_by_every_list(client):
    found = filters_by_moment(client)
    assert len(found) == MOMENTS

    for path, name in found:
        address = f"{path}?{name}=2026-11-26T09:30:00"
        body = read_problem(client.get(f"{address}+02:00"), 400, "invalid")

        assert "%2B" in body["errors"][name][0]["message"]
        assert client.get(f"{address}%2B02:00").status_code == 200
        assert client.get(f"{address}Z").status_code == 200

"""Pages of tasks by limit and offset, with a count that stays cheap."""

from __future__ import annotations

from typing import Any, Final

from rest_framework.exceptions import ValidationError
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

DEFAULT_LIMIT: Final = 20
MAX_LIMIT: Final = 100
MAX_OFFSET: Final = 10_000
# Counting a million rows costs more than the page itself.
MAX_COUNT: Final = 10_000


class TaskPagination(BasePagination):
    """Answers `results` with `total_count`, `has_more` and `next_offset`."""

    def paginate_queryset(
        self, queryset: Any, request: Request, view: APIView | None = None
    ) -> list[Any] | None:
        """One page, and whether more follow."""
        self.limit = self._number(request, "limit", DEFAULT_LIMIT, 1, MAX_LIMIT)
        self.offset = self._number(request, "offset", 0, 0, MAX_OFFSET)
        counted = queryset.order_by()[: MAX_COUNT + 1].count()
        self.total_count = min(counted, MAX_COUNT)
        self.total_count_exact = counted <= MAX_COUNT
        page = list(queryset[self.offset : self.offset + self.limit + 1])
        self.has_more = len(page) > self.limit
        return page[: self.limit]

    def get_paginated_response(self, data: Any) -> Response:
        """The page's answer."""
        return Response(
            {
                "results": data,
                "total_count": self.total_count,
                "total_count_exact": self.total_count_exact,
                "has_more": self.has_more,
                "next_offset": self.offset + self.limit if self.has_more else None,
            }
        )

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The page's shape for OpenAPI."""
        return {
            "type": "object",
            "required": [
                "results",
                "total_count",
                "total_count_exact",
                "has_more",
                "next_offset",
            ],
            "properties": {
                "results": schema,
                "total_count": {"type": "integer", "maximum": MAX_COUNT},
                "total_count_exact": {"type": "boolean"},
                "has_more": {"type": "boolean"},
                "next_offset": {"type": "integer", "nullable": True},
            },
        }

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        """The query parameters for OpenAPI."""
        return [
            {
                "name": "limit",
                "in": "query",
                "description": "Results on a page.",
                "schema": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": MAX_LIMIT,
                    "default": DEFAULT_LIMIT,
                },
            },
            {
                "name": "offset",
                "in": "query",
                "description": "Results to skip.",
                "schema": {
                    "type": "integer",
                    "minimum": 0,
                    "maximum": MAX_OFFSET,
                    "default": 0,
                },
            },
        ]

    @staticmethod
    def _number(
        request: Request, name: str, default: int, least: int, most: int
    ) -> int:
        raw = request.query_params.get(name)
        if raw is None or raw == "":
            return default
        try:
            value = int(raw)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise ValidationError(
                {name: f"This must be a whole number from {least} to {most}."}
            )
        return value

"""Pages by limit and offset, with a count that stays cheap, and by cursor beyond."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from django.db.models import Model, Q, QuerySet
from django.utils.translation import gettext_lazy as _
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from whisperhub.api import cursors

DEFAULT_LIMIT: Final = 20
MAX_LIMIT: Final = 100
MAX_OFFSET: Final = 10_000
# Counting a million rows costs more than the page itself.
MAX_COUNT: Final = 10_000


class TaskPagination(BasePagination):
    """Answers `results` with `total_count`, `has_more` and `next_offset`."""

    # Name to schema.
    PARAMETERS: ClassVar[dict[str, dict[str, Any]]] = {
        "limit": {
            "description": _("Results on a page."),
            "schema": {
                "type": "integer",
                "minimum": 1,
                "maximum": MAX_LIMIT,
                "default": DEFAULT_LIMIT,
            },
        },
        "offset": {
            "description": _("Results to skip."),
            "schema": {
                "type": "integer",
                "minimum": 0,
                "maximum": MAX_OFFSET,
                "default": 0,
            },
        },
    }

    def paginate_queryset(
        self, queryset: Any, request: Request, view: APIView | None = None
    ) -> list[Any] | None:
        """One page, and whether more follow."""
        self.limit = self._number(request, "limit", DEFAULT_LIMIT, 1, MAX_LIMIT)
        self.offset = self._number(request, "offset", 0, 0, MAX_OFFSET)
        rows = self.start(queryset, request)
        counted = queryset.order_by()[: MAX_COUNT + 1].count()
        self.total_count = min(counted, MAX_COUNT)
        self.total_count_exact = counted <= MAX_COUNT
        page = list(rows[self.offset : self.offset + self.limit + 1])
        self.has_more = len(page) > self.limit
        return page[: self.limit]

    def start(self, queryset: Any, request: Request) -> Any:
        """The rows among which offset and limit count."""
        return queryset

    def next_offset(self) -> int | None:
        """Where the next page begins; None if there is none that an offset reaches."""
        offset = self.offset + self.limit
        return offset if self.has_more and offset <= MAX_OFFSET else None

    def get_paginated_response(self, data: Any) -> Response:
        """The page's answer."""
        return Response(
            {
                "results": data,
                "total_count": self.total_count,
                "total_count_exact": self.total_count_exact,
                "has_more": self.has_more,
                "next_offset": self.next_offset(),
            }
        )

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The page's shape for OpenAPI."""
        properties = {
            "results": schema,
            "total_count": {"type": "integer", "maximum": MAX_COUNT, "example": 173},
            "total_count_exact": {"type": "boolean", "example": True},
            "has_more": {"type": "boolean", "example": True},
            "next_offset": {
                "type": "integer",
                "maximum": MAX_OFFSET,
                "nullable": True,
                "example": DEFAULT_LIMIT,
            },
        }
        return {
            "type": "object",
            "required": list(properties),
            "properties": properties,
        }

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        """The query parameters for OpenAPI."""
        return [
            {"name": name, "in": "query", **parameter}
            for name, parameter in self.PARAMETERS.items()
        ]

    @staticmethod
    def _number(
        request: Request, name: str, default: int, least: int, most: int
    ) -> int:
        raw = request.query_params.get(name)
        if raw is None or raw == "":
            return default
        # Python takes digits of any writing, and underscores between them.
        is_number = raw.isascii() and raw.isdigit() and len(raw) <= len(str(most))
        value = int(raw) if is_number else least - 1
        if not least <= value <= most:
            raise ValidationError(
                {
                    name: _("This must be a whole number from %(least)d to %(most)d.")
                    % {"least": least, "most": most}
                }
            )
        return value


class TaskListPagination(TaskPagination):
    """Adds `next_cursor`: it names the last row of a page, the next follows that row.

    So rows that come or go meanwhile neither repeat nor hide others, and no page costs
    more than the first. The queryset is ordered by a moment and the id, both the same
    way.
    """

    PARAMETERS: ClassVar[dict[str, dict[str, Any]]] = {
        **TaskPagination.PARAMETERS,
        "cursor": {
            "description": _(
                "`next_cursor` of the page before, in place of an offset. The ordering "
                "must be the same."
            ),
            "schema": {
                "type": "string",
                "maxLength": 200,
                "pattern": "^[A-Za-z0-9_-]+$",
            },
        },
    }

    def start(self, queryset: Any, request: Request) -> Any:
        """The rows behind the cursor; all, if there is none."""
        self.ordering = str(queryset.query.order_by[0])
        cursor = request.query_params.get("cursor")
        self.follows = bool(cursor)
        if not cursor:
            return queryset
        if self.offset:
            raise ValidationError(
                {"cursor": _("Send either a cursor or an offset, not both.")},
            )
        return self._behind(queryset, cursor)

    def paginate_queryset(
        self, queryset: Any, request: Request, view: APIView | None = None
    ) -> list[Any] | None:
        """One page, and where the next begins."""
        page = super().paginate_queryset(queryset, request, view) or []
        self.next_cursor = self._cursor(page[-1]) if self.has_more else None
        return page

    def next_offset(self) -> int | None:
        """None behind a cursor: nobody has counted what lies before it."""
        return None if self.follows else super().next_offset()

    def get_paginated_response(self, data: Any) -> Response:
        """The page's answer."""
        response = super().get_paginated_response(data)
        response.data["next_cursor"] = self.next_cursor
        return response

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The page's shape for OpenAPI."""
        page = super().get_paginated_response_schema(schema)
        page["properties"]["next_cursor"] = {
            "type": "string",
            "nullable": True,
            "example": "3vXyqg1mJd0bHk2Wc8Zr5tQ9aLfN4sPoEuTiYxVbGKM",
        }
        page["required"] = list(page["properties"])
        return page

    @property
    def _field(self) -> str:
        return self.ordering.removeprefix("-")

    def _cursor(self, row: Model) -> str:
        return cursors.seal(self.ordering, getattr(row, self._field), row.pk)

    def _behind(self, queryset: QuerySet[Any], cursor: str) -> QuerySet[Any]:
        """The rows that follow the one that a cursor names, be it there or not.

        Raises:
            ValidationError: the cursor is malformed, or belongs to another ordering.
        """
        try:
            moment, row_id = cursors.unseal(self.ordering, cursor)
        except cursors.BadCursorError as error:
            raise ValidationError(
                {
                    "cursor": _(
                        "This is not a cursor of a list in this ordering. Pass "
                        "next_cursor on unchanged, or begin with the first page."
                    )
                }
            ) from error
        way = "lt" if self.ordering.startswith("-") else "gt"
        # The first condition is what an index can start from.
        return queryset.filter(
            Q(**{f"{self._field}__{way}": moment}) | Q(**{f"id__{way}": row_id}),
            **{f"{self._field}__{way}e": moment},
        )

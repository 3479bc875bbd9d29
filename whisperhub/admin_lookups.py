"""Which columns the address of a list in the admin may ask about."""

from __future__ import annotations

from typing import Any, Final

from django.contrib import admin
from django.contrib.admin.utils import flatten_fieldsets
from django.http import HttpRequest

# They say nothing that the row's address does not.
PLAIN: Final = frozenset({"id", "pk"})


class ShownFieldsOnly(admin.ModelAdmin):  # type: ignore[type-arg]
    """Refuses `?secret__startswith=a`: Django answers it for every column of the row.

    Who may look at rows could read a column that no page shows, letter by letter.
    """

    def lookup_allowed(
        self, lookup: str, value: str, request: HttpRequest | None = None
    ) -> bool:
        """Whether the field is among those that the pages show."""
        name = lookup.partition("__")[0]
        columns = {field.name for field in self.opts.get_fields()}
        if name in columns - PLAIN - self._shown(request):
            return False
        return super().lookup_allowed(lookup, value, request)  # type: ignore[arg-type]

    def _shown(self, request: Any) -> set[str]:
        fields = flatten_fieldsets(self.get_fieldsets(request))
        filters = {item for item in self.list_filter if isinstance(item, str)}
        return {*map(str, fields), *map(str, self.list_display), *filters}

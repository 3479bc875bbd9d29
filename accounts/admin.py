"""Accounts and keys in the operators' console."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from django.utils import timezone

from accounts.models import ApiKey, User

admin.site.register(User, UserAdmin)


@admin.register(ApiKey)
class ApiKeyAdmin(admin.ModelAdmin[ApiKey]):
    """Makes keys, shows their secret once, revokes them."""

    list_display = [
        "name",
        "prefix",
        "owner",
        "created_at",
        "expires_at",
        "revoked_at",
        "last_used_at",
    ]
    list_filter = ["revoked_at", "expires_at"]
    list_select_related = ["owner"]
    search_fields = ["name", "prefix", "owner__username"]
    readonly_fields = ["prefix", "created_at", "revoked_at", "last_used_at"]
    autocomplete_fields = ["owner"]
    actions = ["revoke"]

    def save_model(
        self, request: HttpRequest, obj: ApiKey, form: ModelForm[ApiKey], change: bool
    ) -> None:
        """Issue a new key and show its secret, or save the edited fields."""
        if change:
            super().save_model(request, obj, form, change)
            return
        issued, secret = ApiKey.issue(obj.owner, obj.name, expires_at=obj.expires_at)
        obj.pk = issued.pk
        obj.prefix = issued.prefix
        messages.warning(
            request, f"The API key, shown this once: {secret} — copy it now."
        )

    def get_readonly_fields(
        self, request: HttpRequest, obj: ApiKey | None = None
    ) -> Any:
        """A key never changes its owner."""
        return [*self.readonly_fields, "owner"] if obj else self.readonly_fields

    @admin.action(description="Revoke the selected API keys")
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        """Shut the selected keys for good."""
        count = queryset.filter(revoked_at=None).update(revoked_at=timezone.now())
        self.message_user(request, f"{count} API key(s) revoked.")

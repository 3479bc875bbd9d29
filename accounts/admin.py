"""Accounts and keys in the operators' console."""

from __future__ import annotations

from typing import Any, Final, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from accounts import keys
from accounts.errors import AccountError
from accounts.models import LIMIT_FIELDS, ApiKey, DailyUsage, User
from accounts.rights import Right, check_owner, has_more_rights
from accounts.scopes import ORDINARY, Scope, scopes_to_text
from whisperhub.admin_lookups import ShownFieldsOnly

# What gives rights to an account.
RIGHTS_FIELDS: Final = ("is_staff", "is_superuser", "groups", "user_permissions")


def actor_of(request: HttpRequest) -> User:
    """The account that is signed in; the admin lets nobody else this far."""
    return cast(User, request.user)


@admin.register(User)
class AccountAdmin(UserAdmin):  # type: ignore[type-arg]
    """Accounts; only a superuser gives rights or touches who has more of them.

    In Django who may change users may make themselves a superuser, or set a
    superuser's password.
    """

    def get_readonly_fields(
        self, request: HttpRequest, obj: User | None = None
    ) -> tuple[Any, ...]:
        """Rights are shown, and set by a superuser."""
        fields = tuple(super().get_readonly_fields(request, obj))
        return fields if actor_of(request).is_superuser else (*fields, *RIGHTS_FIELDS)

    def has_change_permission(
        self, request: HttpRequest, obj: User | None = None
    ) -> bool:
        """Name, password and life of an account that stands no higher."""
        return super().has_change_permission(request, obj) and not (
            obj is not None and has_more_rights(obj, actor_of(request))
        )

    def has_delete_permission(
        self, request: HttpRequest, obj: User | None = None
    ) -> bool:
        """The same."""
        return super().has_delete_permission(request, obj) and not (
            obj is not None and has_more_rights(obj, actor_of(request))
        )


admin.site.unregister(Group)


@admin.register(Group)
class RightsGroupAdmin(GroupAdmin):
    """Groups give rights, so a superuser makes and changes them."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Superusers."""
        return actor_of(request).is_superuser

    def has_change_permission(
        self, request: HttpRequest, obj: Group | None = None
    ) -> bool:
        """Superusers."""
        return actor_of(request).is_superuser


class ApiKeyForm(forms.ModelForm[ApiKey]):
    """A key's scopes as boxes to tick; its expiry may be moved, to the past as well.

    Attributes:
        actor: who fills it in; set by the admin.
    """

    actor: User
    scopes = forms.MultipleChoiceField(
        choices=Scope.choices,
        widget=forms.CheckboxSelectMultiple,
        initial=list(ORDINARY),
    )

    class Meta:
        model = ApiKey
        fields = ["owner", "name", "expires_at", *LIMIT_FIELDS]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Tick what the key has."""
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.initial["scopes"] = list(self.instance.scopes)

    def clean(self) -> dict[str, Any]:
        """Refuse a key that its owner could not use, or that is above the actor."""
        checked = super().clean() or self.cleaned_data
        is_new = self.instance.pk is None
        owner = checked.get("owner") if is_new else self.instance.owner
        if owner is not None:
            try:
                check_owner(
                    self.actor, owner, Right.ADD_KEY if is_new else Right.CHANGE_KEY
                )
            except AccountError as error:
                raise ValidationError(error.message, code=error.code) from error
            keys.check_key(
                owner,
                scopes=checked.get("scopes", ()),
                expires_at=checked.get("expires_at") if is_new else None,
            )
        return checked


class StateFilter(admin.SimpleListFilter):
    """Keys that are active, expired or revoked."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """The states."""
        return list(ApiKey.State.choices)

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Keys in the chosen state."""
        if self.value() not in ApiKey.State.values:
            return queryset
        return queryset.in_state(self.value())


class ScopeFilter(admin.SimpleListFilter):
    """Keys that have a scope."""

    title = "scope"
    parameter_name = "scope"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """The scopes."""
        return [(scope.value, scope.value) for scope in Scope]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Keys with the chosen scope; no word of a scope is part of another."""
        if self.value() not in Scope.values:
            return queryset
        return queryset.filter(scope__contains=self.value())


@admin.register(ApiKey)
class ApiKeyAdmin(ShownFieldsOnly):
    """Makes keys, shows their secret once, replaces and revokes them."""

    form = ApiKeyForm
    list_display = [
        "name",
        "prefix",
        "owner",
        "scope",
        "state",
        "created_at",
        "expires_at",
        "last_used_at",
        "own_limits",
    ]
    list_filter = [StateFilter, ScopeFilter]
    list_select_related = ["owner"]
    search_fields = ["name", "prefix", "owner__username"]
    fields = [
        "owner",
        "name",
        "scopes",
        "expires_at",
        *LIMIT_FIELDS,
        "state",
        "prefix",
        "public_id",
        "created_at",
        "last_used_at",
        "revoked_at",
        "replaced_by",
        "quota_account",
    ]
    readonly_fields = [
        "state",
        "prefix",
        "public_id",
        "created_at",
        "last_used_at",
        "revoked_at",
        "replaced_by",
        "quota_account",
    ]
    autocomplete_fields = ["owner"]
    actions = ["rotate", "revoke"]

    @admin.display(description=_("limits"))
    def own_limits(self, key: ApiKey) -> str:
        """Where they differ from the defaults."""
        return keys.limits_text(key)

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        """What is not made yet is not shown."""
        if obj:
            return self.fields
        return ["owner", "name", "scopes", "expires_at", *LIMIT_FIELDS]

    def get_readonly_fields(
        self, request: HttpRequest, obj: ApiKey | None = None
    ) -> Any:
        """A key never changes its owner."""
        return [*self.readonly_fields, "owner"] if obj else self.readonly_fields

    def get_form(
        self,
        request: HttpRequest,
        obj: ApiKey | None = None,
        change: bool = False,
        **kwargs: Any,
    ) -> Any:
        """A form that knows who fills it in."""
        form: Any = super().get_form(request, obj, change, **kwargs)
        form.actor = actor_of(request)
        return form

    def has_change_permission(
        self, request: HttpRequest, obj: ApiKey | None = None
    ) -> bool:
        """Keys of accounts that stand no higher."""
        return super().has_change_permission(request, obj) and not (
            obj is not None and has_more_rights(obj.owner, actor_of(request))
        )

    def has_delete_permission(
        self, request: HttpRequest, obj: ApiKey | None = None
    ) -> bool:
        """The same."""
        return super().has_delete_permission(request, obj) and not (
            obj is not None and has_more_rights(obj.owner, actor_of(request))
        )

    def save_model(
        self,
        request: HttpRequest,
        obj: ApiKey,
        form: forms.ModelForm[ApiKey],
        change: bool,
    ) -> None:
        """Issue a new key and show its secret, or save the edited fields."""
        scopes = form.cleaned_data["scopes"]
        limits = {name: form.cleaned_data[name] for name in LIMIT_FIELDS}
        if change:
            obj.scope = scopes_to_text(scopes)
            super().save_model(request, obj, form, change)
            # The keys that it was rotated from and to have the same.
            keys.limit_key(obj, limits)
            return
        issued, secret = ApiKey.issue(
            obj.owner,
            obj.name,
            scopes=scopes,
            expires_at=obj.expires_at,
            limits=limits,
        )
        obj.pk = issued.pk
        obj.prefix = issued.prefix
        self._show(request, secret)

    @admin.action(
        description="Replace the selected API key by a new one", permissions=["add"]
    )
    def rotate(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        """Make a key in place of one; the old one goes on for the overlap."""
        chosen = list(queryset.select_related("owner")[:2])
        if len(chosen) != 1:
            # Each secret must be seen and copied.
            self.message_user(request, "Select one API key.", messages.ERROR)
            return
        try:
            check_owner(actor_of(request), chosen[0].owner, Right.ADD_KEY)
            new, secret = keys.rotate_key(chosen[0])
        except AccountError as error:
            self.message_user(request, error.message, messages.ERROR)
            return
        self.log_addition(request, new, [{"added": {}}])
        self._show(request, secret)

    @admin.action(description="Revoke the selected API keys", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        """Shut the selected keys for good, but those of accounts that stand higher."""
        chosen = list(queryset.select_related("owner"))
        allowed = [key.pk for key in chosen if self.has_change_permission(request, key)]
        revoked = keys.revoke_keys(ApiKey.objects.filter(pk__in=allowed))
        self.message_user(request, f"{revoked} API key(s) revoked.")
        if left := len(chosen) - len(allowed):
            self.message_user(
                request,
                f"{left} API key(s) belong to accounts with rights that yours lacks.",
                messages.WARNING,
            )

    @staticmethod
    def _show(request: HttpRequest, secret: str) -> None:
        messages.warning(
            request, f"The API key, shown this once: {secret} — copy it now."
        )


@admin.register(DailyUsage)
class DailyUsageAdmin(ShownFieldsOnly):
    """Who has used how much; to delete a row gives back what it tells."""

    list_display = ["day", "owner", "quota_account", "audio_seconds", "tasks"]
    list_filter = ["day"]
    list_select_related = ["owner", "quota_account"]
    search_fields = ["owner__username"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody."""
        return False

    def has_change_permission(
        self, request: HttpRequest, obj: DailyUsage | None = None
    ) -> bool:
        """Nobody."""
        return False

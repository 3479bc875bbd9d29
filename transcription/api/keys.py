"""API keys over the API: staff manage the keys of every account."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar, cast

from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import mixins, serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.viewsets import GenericViewSet

from accounts import keys
from accounts.limits import client_with_key
from accounts.models import ApiKey, User
from accounts.permissions import granted_scopes
from accounts.rights import Right, check_owner, check_permission, check_scopes
from accounts.scopes import ORDINARY, Scope
from transcription.api.key_limits import KeyLimitsSerializer
from transcription.api.owners import OwnerField, check_may_name, named_owner
from transcription.api.usage import UsageSerializer, usage_of
from transcription.api.views import OTHERS_REFUSED, UNAUTHORIZED, problem
from whisperhub.api.fields import MomentField, TextField, refuse_unknown
from whisperhub.api.json_bodies import BoundedJSONParser

NOT_FOUND = {404: problem("No key has this id.")}
READ_REFUSED = {**UNAUTHORIZED, 403: OTHERS_REFUSED}
REFUSED = {
    **UNAUTHORIZED,
    403: problem(
        "The key lacks the scope (`insufficient_scope`), your account lacks a "
        "permission that limits and others' keys need (`permission_required`), or the "
        "key's owner has rights that your account lacks (`owner_has_more_rights`)."
    ),
}
SECRET_REFUSED = {
    **UNAUTHORIZED,
    403: problem(
        "The key lacks the scope (`insufficient_scope`), the new key would have a "
        "scope that it lacks (`scope_not_held`), your account lacks a permission that "
        "limits and others' keys need (`permission_required`), or the key's owner has "
        "rights that your account lacks (`owner_has_more_rights`)."
    ),
}


class KeySerializer(serializers.ModelSerializer[ApiKey]):
    """A key without its secret, which nobody sees again."""

    id = serializers.UUIDField(source="public_id")
    owner = serializers.CharField(
        source="owner.username", help_text=_("The user name of its owner.")
    )
    prefix = serializers.CharField(help_text=_("How the secret begins."))
    scopes = serializers.ListField(
        child=serializers.ChoiceField(choices=Scope.choices),
        help_text=_("What the key may do."),
    )
    state = serializers.ChoiceField(choices=ApiKey.State.choices)
    last_used_at = serializers.DateTimeField(
        allow_null=True, help_text=_("The last use, to the minute.")
    )
    replaced_by = serializers.UUIDField(
        source="replaced_by.public_id",
        default=None,
        allow_null=True,
        help_text=_("The key that a rotation made in place of this one."),
    )
    limits = KeyLimitsSerializer(
        help_text=_("What is null has the server's default; `usage/` tells it.")
    )

    class Meta:
        model = ApiKey
        fields = [
            "id",
            "owner",
            "name",
            "prefix",
            "scopes",
            "state",
            "created_at",
            "expires_at",
            "revoked_at",
            "last_used_at",
            "replaced_by",
            "limits",
        ]
        read_only_fields = fields


class KeyWithSecretSerializer(KeySerializer):
    """A key that has just been made."""

    secret = serializers.CharField(
        help_text=_("The whole key. It is shown this once: keep it.")
    )

    class Meta(KeySerializer.Meta):
        fields = [*KeySerializer.Meta.fields, "secret"]
        read_only_fields = fields


class KeyCreateSerializer(serializers.Serializer[Any]):
    """A request for a key."""

    owner = OwnerField(
        right=Right.ADD_KEY,
        required=False,
        help_text=_("The user name of its owner. Left out: who asks."),
    )
    name = TextField(max_length=100, help_text=_("What the key is used for."))
    scopes = serializers.ListField(
        child=serializers.ChoiceField(choices=Scope.choices),
        default=list(ORDINARY),
        allow_empty=False,
        max_length=len(Scope),
        help_text=_("What the key may do."),
    )
    expires_at = MomentField(
        default=None,
        allow_null=True,
        help_text=_("When it stops to work. Left out: never."),
    )
    limits = KeyLimitsSerializer(
        default=dict, help_text=_("What is left out has the server's default.")
    )

    def to_internal_value(self, data: Any) -> Any:
        """Check the fields, and that there are no others."""
        if isinstance(data, dict):
            refuse_unknown(data, self.fields)
        return super().to_internal_value(data)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse a key that would open nothing; DRF takes Django's error as its own."""
        request = self.context["request"]
        attrs.setdefault("owner", request.user)
        check_owner(request.user, attrs["owner"], Right.ADD_KEY)
        check_scopes(granted_scopes(request), map(Scope, attrs["scopes"]))
        if attrs["limits"]:
            # Also for one's own: who sets the limits is not who is limited.
            check_permission(request.user, Right.ADD_KEY)
        keys.check_key(
            attrs["owner"],
            scopes=attrs["scopes"],
            expires_at=attrs["expires_at"],
        )
        return attrs


class KeyChangeSerializer(serializers.Serializer[Any]):
    """What of a key may change."""

    limits = KeyLimitsSerializer(
        help_text=_("What is left out stays; null is the server's default.")
    )

    def to_internal_value(self, data: Any) -> Any:
        """Check the fields, and that there are no others."""
        if isinstance(data, dict):
            refuse_unknown(data, self.fields)
        return super().to_internal_value(data)


class KeyRotateSerializer(serializers.Serializer[Any]):
    """How long the old key goes on beside the new one."""

    overlap_seconds = serializers.IntegerField(
        default=int(keys.DEFAULT_OVERLAP.total_seconds()),
        min_value=0,
        max_value=int(keys.MAX_OVERLAP.total_seconds()),
        help_text=_("Seconds for which the old key still works; 0: it ends at once."),
    )

    def to_internal_value(self, data: Any) -> Any:
        """Check the fields, and that there are no others."""
        if isinstance(data, dict):
            refuse_unknown(data, self.fields)
        return super().to_internal_value(data)


class KeyFilter(filters.FilterSet):
    """Narrows the list."""

    state = filters.ChoiceFilter(choices=ApiKey.State.choices, method="by_state")
    owner = filters.CharFilter(
        method="by_owner",
        max_length=150,
        help_text=_("The user name of an owner. Left out: who asks."),
    )

    class Meta:
        model = ApiKey
        fields = ["state", "owner"]

    def filter_queryset(self, queryset: QuerySet[ApiKey]) -> QuerySet[ApiKey]:
        """Keys of one owner: the client, unless another is named."""
        found: QuerySet[ApiKey] = super().filter_queryset(queryset)
        # The name as the filter read it: one of blanks only names nobody.
        if self.form.cleaned_data.get("owner"):
            return found
        return found.filter(owner=self._asking())

    def _asking(self) -> User:
        request: Any = self.request
        return cast(User, request.user)

    def by_owner(self, found: Any, name: str, value: str) -> Any:
        """Keys of this user.

        Raises:
            PermissionRequiredError: it is somebody else, whose keys are not shown.
            ValidationError: there is no such user.
        """
        check_may_name(self._asking(), value, Right.VIEW_KEY)
        return found.filter(owner=named_owner(value, field=name))

    def by_state(self, found: Any, name: str, value: str) -> Any:
        """Keys that are active, expired or revoked now."""
        return found.in_state(value)


@extend_schema_view(
    list=extend_schema(
        summary="List the API keys of an owner, newest first",
        description="Your own, unless `owner` names somebody else.",
        responses={
            200: KeySerializer(many=True),
            400: problem("A filter or page value is not allowed."),
            **READ_REFUSED,
        },
    ),
    retrieve=extend_schema(
        summary="Show an API key",
        responses={200: KeySerializer, **READ_REFUSED, **NOT_FOUND},
    ),
    destroy=extend_schema(
        summary="Delete an API key",
        description=(
            "It opens nothing from now on, and leaves no trace. To keep it in the "
            "list, revoke it."
        ),
        responses={204: None, **REFUSED, **NOT_FOUND},
    ),
)
class KeyViewSet(
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    mixins.DestroyModelMixin,
    GenericViewSet[ApiKey],
):
    """Keys of all accounts; the scope is for staff, and `accounts.rights` decides."""

    required_scope = Scope.ADMIN
    rights: ClassVar = {
        "retrieve": Right.VIEW_KEY,
        "usage": Right.VIEW_USAGE,
        "rotate": Right.ADD_KEY,
        "partial_update": Right.CHANGE_KEY,
        "revoke": Right.CHANGE_KEY,
        "destroy": Right.DELETE_KEY,
    }
    serializer_class = KeySerializer
    filterset_class = KeyFilter
    parser_classes = [BoundedJSONParser]
    lookup_field = "public_id"
    lookup_value_converter = "uuid"
    queryset = ApiKey.objects.none()

    def get_queryset(self) -> QuerySet[ApiKey]:
        """All; `KeyFilter` and `get_object` narrow them to what the client may see."""
        return ApiKey.objects.select_related("owner", "replaced_by")

    def filter_queryset(self, queryset: Any) -> Any:
        """Filters are for the list: the address of a key names one of any owner."""
        if self.action != "list":
            return queryset
        return super().filter_queryset(queryset)

    def get_object(self) -> ApiKey:
        """The key of the address, if the client may do this with its owner's keys.

        Raises:
            AccountError: it may not.
        """
        key = super().get_object()
        check_owner(cast(User, self.request.user), key.owner, self.rights[self.action])
        return key

    @extend_schema(
        summary="Make an API key",
        description="The answer alone has the secret.",
        request=KeyCreateSerializer,
        responses={
            201: KeyWithSecretSerializer,
            400: problem("A field is missing, unknown or not allowed."),
            **SECRET_REFUSED,
        },
    )
    def create(self, request: Request) -> Response:
        """Make a key for the owner of this one, or for another."""
        form = KeyCreateSerializer(data=request.data, context={"request": request})
        form.is_valid(raise_exception=True)
        checked = form.validated_data
        made = ApiKey.issue(
            checked["owner"],
            checked["name"],
            scopes=checked["scopes"],
            expires_at=checked["expires_at"],
            limits=checked["limits"],
        )
        return self._with_secret(*made)

    @extend_schema(
        summary="Change the limits of an API key",
        description=(
            "They hold from its next request on, for the keys that rotation has made "
            "of it or that it was made of, too."
        ),
        request=KeyChangeSerializer,
        responses={
            200: KeySerializer,
            400: problem("A field is missing, unknown or not allowed."),
            **REFUSED,
            **NOT_FOUND,
        },
    )
    def partial_update(self, request: Request, public_id: Any = None) -> Response:
        """Allow it more or less."""
        key = self.get_object()
        # Also for one's own, as when it is made.
        check_permission(cast(User, request.user), Right.CHANGE_KEY)
        form = KeyChangeSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        keys.limit_key(key, form.validated_data["limits"])
        return Response(self.get_serializer(key).data)

    @extend_schema(
        summary="Show what an API key has used and may use",
        description="Counted for all keys that rotation has made of each other.",
        responses={200: UsageSerializer, **READ_REFUSED, **NOT_FOUND},
    )
    @action(detail=True, filterset_class=None, pagination_class=None)
    def usage(self, request: Request, public_id: Any = None) -> Response:
        """Of the quota account of this key."""
        key = self.get_object()
        shown = usage_of(client_with_key(key), owner=key.owner, key=key)
        return Response(UsageSerializer(shown).data)

    @extend_schema(
        summary="Replace an API key by a new one",
        description=(
            "The new key has the name, the scopes and the limits of the old one, goes "
            "on with what it has used of them, and has as long a life from now on. "
            "Both work until the overlap is over. The answer alone has the secret."
        ),
        request=KeyRotateSerializer,
        responses={
            201: KeyWithSecretSerializer,
            400: problem("A field is unknown or not allowed."),
            **SECRET_REFUSED,
            **NOT_FOUND,
            409: problem(
                "The key is revoked, expired or replaced already (`key_not_rotatable`)."
            ),
        },
    )
    @action(detail=True, methods=["post"], filterset_class=None, pagination_class=None)
    def rotate(self, request: Request, public_id: Any = None) -> Response:
        """Make a key in place of this one."""
        key = self.get_object()
        check_scopes(granted_scopes(request), key.scopes)
        form = KeyRotateSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        overlap = timedelta(seconds=form.validated_data["overlap_seconds"])
        return self._with_secret(*keys.rotate_key(key, overlap=overlap))

    @extend_schema(
        summary="Revoke an API key",
        description="It opens nothing from now on. To revoke it again changes nothing.",
        request=None,
        responses={200: KeySerializer, **REFUSED, **NOT_FOUND},
    )
    @action(detail=True, methods=["post"], filterset_class=None, pagination_class=None)
    def revoke(self, request: Request, public_id: Any = None) -> Response:
        """Shut this key for good."""
        key = self.get_object()
        keys.revoke_keys(ApiKey.objects.filter(pk=key.pk))
        return Response(self.get_serializer(self.get_object()).data)

    def _with_secret(self, key: ApiKey, secret: str) -> Response:
        address = reverse("key-detail", args=[key.public_id], request=self.request)
        return Response(
            {**KeySerializer(key).data, "secret": secret},
            status=status.HTTP_201_CREATED,
            headers={"Location": address, "Cache-Control": "no-store"},
        )

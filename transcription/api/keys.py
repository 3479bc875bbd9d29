"""API keys over the API: staff manage the keys of their own account."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

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
from accounts.models import ApiKey, User
from accounts.scopes import ORDINARY, Scope
from transcription.api.fields import TextField, refuse_unknown
from transcription.api.json_bodies import BoundedJSONParser
from transcription.api.views import UNAUTHORIZED, problem

NOT_FOUND = {404: problem("No key of yours has this id.")}


class KeySerializer(serializers.ModelSerializer[ApiKey]):
    """A key without its secret, which nobody sees again."""

    id = serializers.UUIDField(source="public_id")
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

    class Meta:
        model = ApiKey
        fields = [
            "id",
            "name",
            "prefix",
            "scopes",
            "state",
            "created_at",
            "expires_at",
            "revoked_at",
            "last_used_at",
            "replaced_by",
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

    name = TextField(max_length=100, help_text=_("What the key is used for."))
    scopes = serializers.ListField(
        child=serializers.ChoiceField(choices=Scope.choices),
        default=list(ORDINARY),
        allow_empty=False,
        max_length=len(Scope),
        help_text=_("What the key may do."),
    )
    expires_at = serializers.DateTimeField(
        default=None,
        allow_null=True,
        help_text=_("When it stops to work. Left out: never."),
    )

    def to_internal_value(self, data: Any) -> Any:
        """Check the fields, and that there are no others."""
        if isinstance(data, dict):
            refuse_unknown(data, self.fields)
        return super().to_internal_value(data)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse a key that would open nothing; DRF takes Django's error as its own."""
        keys.check_key(
            self.context["request"].user,
            scopes=attrs["scopes"],
            expires_at=attrs["expires_at"],
        )
        return attrs


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

    class Meta:
        model = ApiKey
        fields = ["state"]

    def by_state(self, found: Any, name: str, value: str) -> Any:
        """Keys that are active, expired or revoked now."""
        return found.in_state(value)


@extend_schema_view(
    list=extend_schema(
        summary="List your API keys, newest first",
        responses={
            200: KeySerializer(many=True),
            400: problem("A filter or page value is not allowed."),
            **UNAUTHORIZED,
        },
    ),
    retrieve=extend_schema(
        summary="Show an API key",
        responses={200: KeySerializer, **UNAUTHORIZED, **NOT_FOUND},
    ),
    destroy=extend_schema(
        summary="Delete an API key",
        description=(
            "It opens nothing from now on, and leaves no trace. To keep it in the "
            "list, revoke it."
        ),
        responses={204: None, **UNAUTHORIZED, **NOT_FOUND},
    ),
)
class KeyViewSet(
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    mixins.DestroyModelMixin,
    GenericViewSet[ApiKey],
):
    """Keys of the account whose key, or session, makes the request."""

    required_scope = Scope.ADMIN
    serializer_class = KeySerializer
    filterset_class = KeyFilter
    parser_classes = [BoundedJSONParser]
    lookup_field = "public_id"
    lookup_value_converter = "uuid"
    queryset = ApiKey.objects.none()

    def get_queryset(self) -> QuerySet[ApiKey]:
        """Another owner's key does not exist for this one."""
        owned = ApiKey.objects.filter(owner=cast(User, self.request.user))
        return owned.select_related("owner", "replaced_by")

    @extend_schema(
        summary="Make an API key",
        description="The answer alone has the secret.",
        request=KeyCreateSerializer,
        responses={
            201: KeyWithSecretSerializer,
            400: problem("A field is missing, unknown or not allowed."),
            **UNAUTHORIZED,
        },
    )
    def create(self, request: Request) -> Response:
        """Make a key for the owner of this one."""
        form = KeyCreateSerializer(data=request.data, context={"request": request})
        form.is_valid(raise_exception=True)
        checked = form.validated_data
        made = ApiKey.issue(
            cast(User, request.user),
            checked["name"],
            scopes=checked["scopes"],
            expires_at=checked["expires_at"],
        )
        return self._with_secret(*made)

    @extend_schema(
        summary="Replace an API key by a new one",
        description=(
            "The new key has the name and the scopes of the old one, and as long a "
            "life from now on. Both work until the overlap is over. The answer alone "
            "has the secret."
        ),
        request=KeyRotateSerializer,
        responses={
            201: KeyWithSecretSerializer,
            400: problem("A field is unknown or not allowed."),
            **UNAUTHORIZED,
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
        form = KeyRotateSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        overlap = timedelta(seconds=form.validated_data["overlap_seconds"])
        return self._with_secret(*keys.rotate_key(key, overlap=overlap))

    @extend_schema(
        summary="Revoke an API key",
        description="It opens nothing from now on. To revoke it again changes nothing.",
        request=None,
        responses={200: KeySerializer, **UNAUTHORIZED, **NOT_FOUND},
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

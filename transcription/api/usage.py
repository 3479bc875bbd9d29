"""What a key has used, and what it may still use."""

from __future__ import annotations

from typing import Any, Final, cast

from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import usage
from accounts.limits import Client, client_of, client_without_key
from accounts.models import ApiKey, User
from accounts.rights import Right
from accounts.throttling import rate_name
from accounts.usage import DAYS_SHOWN, Used
from transcription.api.owners import OwnerField
from transcription.api.views import OTHERS_REFUSED, UNAUTHORIZED, problem
from transcription.models import TranscriptionTask
from transcription.services.quotas import unfinished_tasks
from whisperhub import rates
from whisperhub.api.fields import query_values, refuse_unknown

# More are not counted; the figure then stands for more, too.
MAX_UNFINISHED: Final = 10_000


class UsageQuerySerializer(serializers.Serializer[Any]):
    """Whose usage is asked for."""

    owner = OwnerField(
        right=Right.VIEW_USAGE,
        required=False,
        help_text=_(
            "For staff with the permission `accounts.view_dailyusage`: the user name "
            "of another owner. The limits are then those of requests without a key."
        ),
    )

    def to_internal_value(self, data: Any) -> Any:
        """Check the parameters, and that there are no others.

        Raises:
            ValidationError: a name that is not one's own, by somebody who is no staff.
        """
        refuse_unknown(data, self.fields)
        asking = self.context["request"].user
        if data.get("owner", asking.get_username()) == asking.get_username():
            return {}
        if not asking.is_staff:
            raise serializers.ValidationError(
                {
                    "owner": serializers.ErrorDetail(
                        str(_("Only staff may see the usage of others.")),
                        code="staff_only",
                    )
                }
            )
        return super().to_internal_value(data)


class UsedSerializer(serializers.Serializer[Used]):
    """What was used in some days."""

    audio_seconds = serializers.FloatField(help_text=_("Of prepared tasks."))
    tasks = serializers.IntegerField(
        help_text=_("Tasks that were prepared; one that starts again counts once.")
    )


class SpanSerializer(serializers.Serializer[Any]):
    """What was used today and lately; days are those of UTC."""

    today = UsedSerializer()
    last_30_days = UsedSerializer(help_text=_("Today among them."))


class RequestLimitSerializer(serializers.Serializer[Any]):
    """The rate of requests."""

    limit = serializers.IntegerField(
        allow_null=True, help_text=_("In a minute. Null: no limit.")
    )
    remaining = serializers.IntegerField(
        allow_null=True, help_text=_("That may come at once.")
    )
    reset_seconds = serializers.IntegerField(
        allow_null=True, help_text=_("Until all may come at once again.")
    )


class AudioLimitSerializer(serializers.Serializer[Any]):
    """The audio of a day."""

    limit = serializers.IntegerField(
        allow_null=True, help_text=_("Seconds in a day. Null: no limit.")
    )
    used = serializers.FloatField(help_text=_("Seconds today."))
    remaining = serializers.FloatField(
        allow_null=True, help_text=_("Seconds; the task that passes 0 is let through.")
    )
    resets_at = serializers.DateTimeField(help_text=_("Midnight in UTC."))


class TaskLimitSerializer(serializers.Serializer[Any]):
    """Tasks that have not ended."""

    limit = serializers.IntegerField(
        allow_null=True, help_text=_("At any time. Null: no limit.")
    )
    used = serializers.IntegerField(
        max_value=MAX_UNFINISHED,
        help_text=_("Tasks that have not ended; 10,000 stands for more, too."),
    )
    remaining = serializers.IntegerField(
        allow_null=True, help_text=_("Tasks that may be submitted now.")
    )


class LimitsInForceSerializer(serializers.Serializer[Any]):
    """Each limit, and where its client stands."""

    requests = RequestLimitSerializer()
    audio_seconds = AudioLimitSerializer()
    unfinished_tasks = TaskLimitSerializer()
    highest_priority = serializers.ChoiceField(
        choices=TranscriptionTask.Priority.choices
    )


class UsageSerializer(serializers.Serializer[Any]):
    """What a key, and its owner with all keys, has used and may use."""

    owner = serializers.CharField(help_text=_("The owner's user name."))
    key = serializers.UUIDField(
        allow_null=True,
        help_text=_("The key's id. Null: requests without a key."),
    )
    limits = LimitsInForceSerializer()
    used = SpanSerializer(
        help_text=_("By this key and those that rotation has made of it.")
    )
    used_by_owner = SpanSerializer(help_text=_("By all that act for the owner."))


def usage_of(client: Client, *, owner: User, key: ApiKey | None) -> dict[str, Any]:
    """What `UsageSerializer` shows of a client."""
    used_today = usage.used_by_account(client.quota_account_id)
    return {
        "owner": owner.get_username(),
        "key": None if key is None else key.public_id,
        "limits": {
            "requests": _requests(client),
            "audio_seconds": _audio(client, used_today.audio_seconds),
            "unfinished_tasks": _tasks(client),
            "highest_priority": client.limits.highest_priority,
        },
        "used": {
            "today": used_today,
            "last_30_days": usage.used_by_account(
                client.quota_account_id, days=DAYS_SHOWN
            ),
        },
        "used_by_owner": {
            "today": usage.used_by_owner(client.owner_id),
            "last_30_days": usage.used_by_owner(client.owner_id, days=DAYS_SHOWN),
        },
    }


def _requests(client: Client) -> dict[str, int | None]:
    rate = client.limits.rate
    if rate is None:
        return dict.fromkeys(("limit", "remaining", "reset_seconds"))
    standing = rates.look(rate_name(client.quota_account_id), rate)
    return {
        "limit": standing.limit,
        "remaining": standing.remaining,
        "reset_seconds": standing.reset_seconds,
    }


def _audio(client: Client, used: float) -> dict[str, Any]:
    limit = client.limits.audio_seconds_per_day
    return {
        "limit": limit or None,
        "used": used,
        "remaining": max(0.0, limit - used) if limit else None,
        "resets_at": usage.midnight(),
    }


def _tasks(client: Client) -> dict[str, int | None]:
    limit = client.limits.unfinished_tasks
    used = unfinished_tasks(client.quota_account_id, most=max(limit, MAX_UNFINISHED))
    return {
        "limit": limit or None,
        "used": min(used, MAX_UNFINISHED),
        "remaining": max(0, limit - used) if limit else None,
    }


class UsageView(APIView):
    """The usage of who asks."""

    @extend_schema(
        summary="Show what you have used and may use",
        description=(
            "Of the key that asks, with those that rotation has made of it, and of its "
            "owner in all. Audio and tasks are counted once the media are prepared."
        ),
        parameters=[UsageQuerySerializer],
        responses={
            200: UsageSerializer,
            400: problem("There is no such owner, or only staff may ask for it."),
            **UNAUTHORIZED,
            403: OTHERS_REFUSED,
        },
    )
    def get(self, request: Request) -> Response:
        """Used, left, and until when."""
        asking = cast(User, request.user)
        query = UsageQuerySerializer(
            data=query_values(request), context={"request": request}
        )
        query.is_valid(raise_exception=True)
        if other := query.validated_data.get("owner"):
            shown = usage_of(client_without_key(other), owner=other, key=None)
        else:
            auth: Any = request.auth
            key = auth if isinstance(auth, ApiKey) else None
            shown = usage_of(client_of(request), owner=asking, key=key)
        return Response(UsageSerializer(shown).data)

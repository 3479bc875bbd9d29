"""What a list of tasks is asked for: checked values, and the rows they mean."""

from __future__ import annotations

from typing import Any, Final

from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers
from rest_framework.request import Request

from accounts.models import User
from accounts.rights import Right, check_permission
from transcription.api.options import LanguageField
from transcription.api.owners import user_named
from transcription.engines.spec import ENGINE_CHOICES
from transcription.models import TranscriptionTask
from whisperhub.api.fields import (
    MomentField,
    OneOfField,
    RequestSerializer,
    query_values,
    refuse_unknown,
)
from whisperhub.api.pagination import TaskListPagination

NEWEST_FIRST: Final = "-created_at"
LAST_ENDED_FIRST: Final = "-finished_at"
# Each has an index that begins with the owner; see `TranscriptionTask.Meta`.
ORDERINGS: Final = (NEWEST_FIRST, "created_at", LAST_ENDED_FIRST, "finished_at")
# Parameter to the lookup it means.
LOOKUPS: Final = {
    "status": "status",
    "priority": "priority",
    "task_type": "task_type",
    "language": "spoken_language",
    "engine": "engine",
    "model": "model",
    "platform": "platform",
    "has_result": "has_result",
    "has_error": "has_error",
    "created_after": "created_at__gte",
    "created_before": "created_at__lt",
    "finished_after": "finished_at__gte",
    "finished_before": "finished_at__lt",
}


class TaskQuerySerializer(RequestSerializer):
    """The query string of the list; all of it narrows or orders, nothing is needed."""

    status = OneOfField(choices=TranscriptionTask.Status.choices, required=False)
    priority = OneOfField(
        choices=TranscriptionTask.Priority.choices,
        required=False,
        help_text=_("As it was asked for, whatever it has risen to."),
    )
    task_type = OneOfField(choices=TranscriptionTask.TaskType.choices, required=False)
    language = LanguageField(
        required=False,
        help_text=_(
            "What is spoken: as detected, and until then as asked for. A code, a BCP "
            "47 tag or the name in English."
        ),
    )
    engine = OneOfField(choices=ENGINE_CHOICES, required=False)
    model = serializers.CharField(max_length=100, required=False)
    platform = serializers.CharField(
        max_length=50, required=False, help_text=_("The label, letter by letter.")
    )
    created_after = MomentField(required=False, help_text=_("From this moment on."))
    created_before = MomentField(required=False, help_text=_("Before this moment."))
    finished_after = MomentField(required=False, help_text=_("From this moment on."))
    finished_before = MomentField(required=False, help_text=_("Before this moment."))
    has_result = serializers.BooleanField(
        required=False, help_text=_("Whether there is a transcript.")
    )
    has_error = serializers.BooleanField(
        required=False, help_text=_("Whether it has failed.")
    )
    owner = serializers.CharField(
        max_length=150,
        required=False,
        help_text=_(
            "For staff with the permission `transcription.view_transcriptiontask`: "
            "the user name of another owner."
        ),
    )
    ordering = OneOfField(
        choices=ORDERINGS,
        required=False,
        help_text=_(
            "`-` is the newest first. By `finished_at`, only tasks that have ended are "
            "listed. Left out: `-finished_at` if a range of it is given, else "
            "`-created_at`."
        ),
    )

    def to_internal_value(self, data: Any) -> Any:
        """Check the parameters, and that there are no others."""
        refuse_unknown(data, {**self.fields, **TaskListPagination.PARAMETERS})
        return super().to_internal_value(data)

    def validate_owner(self, name: str) -> User:
        """The user of this name.

        Raises:
            ValidationError: who asks is not staff, or there is no such user.
            PermissionRequiredError: staff may not see the tasks of others.
        """
        asking = self.context["owner"]
        if name == asking.get_username():
            return asking  # type: ignore[no-any-return]
        if not asking.is_staff:
            raise serializers.ValidationError(
                _("Only staff may list the tasks of others."), code="staff_only"
            )
        check_permission(asking, Right.VIEW_TASKS)
        return user_named(name)


def listed_tasks(request: Request, owner: User) -> QuerySet[TranscriptionTask]:
    """The tasks that a query string asks for, in the order that it asks for.

    Always of one owner: every index of the list begins with it.

    Args:
        request: with the query string.
        owner: who asks, and whose tasks they are unless staff asks for another's.

    Raises:
        ValidationError: by parameter.
    """
    form = TaskQuerySerializer(data=query_values(request), context={"owner": owner})
    form.is_valid(raise_exception=True)
    asked = form.validated_data
    tasks = TranscriptionTask.objects.filter(
        owner=asked.get("owner", owner),
        **{LOOKUPS[name]: asked[name] for name in LOOKUPS if name in asked},
    )
    by_end = asked.keys() & {"finished_after", "finished_before"}
    ordering = asked.get("ordering", LAST_ENDED_FIRST if by_end else NEWEST_FIRST)
    sign, field = ("-" if ordering.startswith("-") else ""), ordering.removeprefix("-")
    if field == "finished_at":
        tasks = tasks.filter(finished_at__isnull=False)
    return tasks.order_by(ordering, f"{sign}id")

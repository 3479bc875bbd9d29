"""Filters of the list of callbacks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.core.exceptions import ValidationError
from django_filters import rest_framework as filters
from django_filters.fields import IsoDateTimeField

from transcription.models import Callback
from whisperhub.api.fields import NOT_A_MOMENT


class MomentField(IsoDateTimeField):
    """A moment that has one in UTC: some of the years 1 and 9999 have none."""

    def to_python(self, value: Any) -> datetime | None:
        """The moment in UTC."""
        try:
            moment: datetime | None = super().to_python(value)
            return moment and moment.astimezone(UTC)
        except (OverflowError, ValidationError):
            # Through a place, since the sentence itself has a percent sign.
            raise ValidationError(
                "%(sentence)s", code="invalid", params={"sentence": NOT_A_MOMENT}
            ) from None


class MomentFilter(filters.IsoDateTimeFilter):
    """Compares with a moment."""

    field_class = MomentField


class CallbackFilter(filters.FilterSet):
    """Narrows the list of callbacks."""

    state = filters.ChoiceFilter(choices=Callback.State.choices)
    event = filters.ChoiceFilter(choices=Callback.Event.choices)
    created_after = MomentFilter(
        field_name="created_at", lookup_expr="gte", label="At this moment or later."
    )
    created_before = MomentFilter(
        field_name="created_at", lookup_expr="lt", label="Before this moment."
    )

    class Meta:
        model = Callback
        fields = ["state", "event", "created_after", "created_before"]

"""Fields that mean the same in a form, in JSON and in a query string."""

from __future__ import annotations

import functools
import heapq
import json
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Final, NoReturn

from django.http import QueryDict
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.utils.serializer_helpers import BindingDict

from whisperhub.api.echoes import MOST_NAMES, NAME_LENGTH, shortened, shown
from whisperhub.network.egress import BlockedAddressError, configured_policy
from whisperhub.network.links import LENGTH, Fault, fault_of, target_of
from whisperhub.web import languages

LEAST_CLIP_SECONDS: Final = 0.5


def flatten(request: Request) -> dict[str, Any]:
    """Query string and body as one dict; the body wins.

    A form field that was sent several times becomes a list. An empty text in a form or
    a query string means that the option was left alone: forms send every field they
    show. In JSON it is a text like any other.
    """
    if not isinstance(request.data, Mapping):
        raise serializers.ValidationError(_("The body must be an object."))
    return _values(_asked_in(request)) | _values(request.data)


def query_values(request: Request) -> dict[str, Any]:
    """The query string as one dict, in the same way."""
    return _values(_asked_in(request))


def _asked_in(request: Request) -> QueryDict:
    """The query string without what no operation is asked: the language."""
    query = request.query_params.copy()
    query.pop(languages.PARAMETER, None)
    return query


def _values(source: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(source, QueryDict):
        return dict(source)
    lists = {name: source.getlist(name) for name in source}
    return {
        name: values[0] if len(values) == 1 else values
        for name, values in lists.items()
        if values != [""]
    }


class NumbersField(serializers.Field[Any, Any, Any, Any]):
    """One number or several: a number, a list, or text such as `0,0.2,0.4`."""

    default_error_messages = {
        "invalid": _("Give a number or a list of numbers, for example 0,0.2,0.4."),
        "range": _("Each number must be from {least} to {most}."),
        "count": _("Give at most {count} numbers."),
    }
    # Whether no number at all has a meaning.
    may_be_empty = False

    def __init__(
        self,
        *,
        least: float,
        most: float,
        count: int,
        text_number: str = r"[0-9]+(\.[0-9]+)?",
        **kwargs: Any,
    ) -> None:
        """Set the bounds of each number and of their count.

        Args:
            least: number allowed.
            most: likewise.
            count: of numbers, at most.
            text_number: a pattern for the document: how a number within the bounds is
                written in a text. The field takes other ways of writing it as well.
            **kwargs: of every field.
        """
        self.least, self.most, self.count = least, most, count
        self._text_number = text_number
        super().__init__(**kwargs)

    @property
    def text_pattern(self) -> str:
        """What a text of numbers looks like, for the document."""
        several = f"{self._text_number}(, *{self._text_number}){{0,{self.count - 1}}}"
        return f"^({several})?$" if self.may_be_empty else f"^{several}$"

    def to_internal_value(self, data: Any) -> list[float]:
        """Numbers as a list of float."""
        items: list[Any] = []
        for part in data if isinstance(data, list) else [data]:
            items.extend(self._split(part) if isinstance(part, str) else [part])
        if any(isinstance(item, bool) for item in items):
            self.fail("invalid")
        if not items and not self.may_be_empty:
            self.fail("invalid")
        try:
            numbers = [float(item) for item in items]
        except (TypeError, ValueError):
            self.fail("invalid")
        if len(numbers) > self.count:
            self.fail("count", count=self.count)
        # Not a number is not within any range.
        if not all(self.least <= number <= self.most for number in numbers):
            self.fail("range", least=self.least, most=self.most)
        return numbers

    def _split(self, text: str) -> list[str]:
        inner = text.strip().removeprefix("[").removesuffix("]")
        return [part.strip() for part in inner.split(",") if part.strip()]

    def to_representation(self, value: Any) -> Any:
        """As stored."""
        return value


class ClipTimestampsField(NumbersField):
    """Start, end, start, … in seconds, rising; 0 alone is the whole recording."""

    default_error_messages = {
        "order": _("The times must rise: start, end, start, end …"),
        "too_short": _(
            "The clip from {start:g} s to {end:g} s is too short: give each clip "
            "{least:g} s at least."
        ),
    }
    may_be_empty = True

    def to_internal_value(self, data: Any) -> list[float]:
        """Rising times; none for the whole recording."""
        numbers = super().to_internal_value(data)
        if numbers == [0.0]:
            return []
        if any(left >= right for left, right in pairwise(numbers)):
            self.fail("order")
        # A window that holds next to nothing costs more than one that is full.
        for start, end in zip(numbers[::2], numbers[1::2], strict=False):
            if end - start < LEAST_CLIP_SECONDS:
                self.fail("too_short", start=start, end=end, least=LEAST_CLIP_SECONDS)
        return numbers


class OneOfField(serializers.ChoiceField):
    """A choice whose error tells what there is to choose; the case is no matter."""

    default_error_messages = {
        "invalid_choice": _('"{input}" is not one of: {allowed}.'),
    }

    def to_internal_value(self, data: Any) -> Any:
        """The choice as we spell it."""
        word = data.lower() if isinstance(data, str) else data
        if not isinstance(word, str) or word not in self.choices:
            self.fail(
                "invalid_choice", input=shown(data), allowed=", ".join(self.choices)
            )
        return word


# What no address may lack; `fault_of` finds the rest. The format "uri" has ASCII only,
# and people copy addresses with names in their own writing.
BLANKS = r"\s\u0000-\u0020\u007f-\u00a0"
URL_SCHEMA: dict[str, Any] = {
    "type": "string",
    "pattern": (
        rf"^\s*[Hh][Tt][Tt][Pp][Ss]?://[^{BLANKS}@#/?\\]+([/?][^{BLANKS}#\\]*)?\s*$"
    ),
    "maxLength": LENGTH,
}


class TextField(serializers.CharField):
    """A text. DRF's field takes a number for one, too, and counts without blanks."""

    def to_internal_value(self, data: Any) -> str:
        """The text, without blanks around it unless they are wanted."""
        if not isinstance(data, str):
            self.fail("invalid")
        if self.max_length is not None and len(data) > self.max_length:
            self.fail("max_length", max_length=self.max_length)
        return super().to_internal_value(data)


class UrlTextField(TextField):
    """An http or https address that a request can be sent to, judged by its text.

    Django's own check of URLs wants a dot in the host, which names inside a network
    have not. Where the name leads is found out when the address is used.
    """

    CODE = "invalid_url"
    FAULTS = {
        Fault.TOO_LONG: _("The address has more than 2048 characters."),
        Fault.BAD_CHARACTERS: _(
            "The address has characters that must be written as %XX."
        ),
        Fault.UNUSABLE: _("This is no address that a request can be sent to."),
        Fault.NOT_HTTP: _(
            "Give an address that begins with http:// or https:// and a host."
        ),
        Fault.HAS_USER: _("The address must hold no user name and no password."),
        Fault.HAS_FRAGMENT: _("The address must have no part after #."),
    }

    def to_internal_value(self, data: Any) -> str:
        """The address as it was given."""
        url = super().to_internal_value(data)
        if (fault := fault_of(url)) is not None:
            raise serializers.ValidationError(self.FAULTS[fault], code=self.CODE)
        return url


@extend_schema_field(URL_SCHEMA)
class CallbackUrlField(UrlTextField):
    """Where the end of a task is told."""

    CODE = "invalid_callback_url"


@extend_schema_field(URL_SCHEMA)
class FileUrlField(UrlTextField):
    """A direct link to media. A host that is an address is judged; no name is asked."""

    CODE = "invalid_file_url"

    def to_internal_value(self, data: Any) -> str:
        """The link as it was given."""
        url = super().to_internal_value(data)
        try:
            configured_policy().check_text(*target_of(url))
        except BlockedAddressError as error:
            raise serializers.ValidationError(
                _("This server may not reach the address or port of the link."),
                code=error.code,
            ) from error
        return url


# A + that is not encoded reaches us as a blank.
NOT_A_MOMENT = _(
    "Give a date and time such as 2026-11-26T09:30:00Z. In an address, write + as %2B: "
    "2026-11-26T09:30:00%2B02:00."
)


class MomentField(serializers.DateTimeField):
    """A moment in a request, which may stand in the address."""

    default_error_messages = {"invalid": NOT_A_MOMENT}


class NullableNumberField(serializers.FloatField):
    """A number whose null means that the rule is off; a form says so by `null`, too."""

    def __init__(self, **kwargs: Any) -> None:
        """Allow null."""
        super().__init__(allow_null=True, **kwargs)

    def run_validation(self, data: Any = serializers.empty) -> Any:
        """The number, or None."""
        return super().run_validation(None if data == "null" else data)


class ZeroIsNoneField(NullableNumberField):
    """A number whose 0 means that the rule is off."""

    def run_validation(self, data: Any = serializers.empty) -> Any:
        """None for 0, after the bounds were checked."""
        return super().run_validation(data) or None


class JsonObjectField(serializers.JSONField):
    """An object, also as JSON text in a form, checked by a serializer of its own."""

    default_error_messages = {"object": _("Give a JSON object.")}

    def __init__(self, *, checker: type[serializers.Serializer[Any]], **kwargs: Any):
        """Set the serializer that checks the members."""
        self.checker = checker
        super().__init__(**kwargs)

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """The checked members."""
        if isinstance(data, str):
            try:
                data = json.loads(data)
            except (ValueError, RecursionError):
                self._refuse()
        if not isinstance(data, dict):
            self._refuse()
        refuse_unknown(data, self.checker().fields)
        checker = self.checker(data=data)
        checker.is_valid(raise_exception=True)
        return dict(checker.validated_data)

    def _refuse(self) -> NoReturn:
        self.fail("object")


class RequestSerializer(serializers.Serializer[Any]):
    """Checks what a request says, by fields that all requests share.

    Otherwise each request gets copies of all of them, which takes longer than the
    check. Their `parent` and `context` are those of an instance that nobody uses.
    """

    @functools.cached_property
    def fields(self) -> Any:
        """The fields by name."""
        return _shared_fields(type(self), get_language())


@functools.cache
def _shared_fields(kind: type[RequestSerializer], language: str | None) -> Any:
    # Of each language its own: a field's messages keep the first that they are said in.
    parent = kind()
    fields = BindingDict(parent)
    for name, field in parent.get_fields().items():
        fields[name] = field
    return fields


def refuse_unknown(data: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Refuse names that we do not know: a misspelt option must not pass unseen.

    Raises:
        ValidationError: by name, for the first few in the order of the alphabet.
    """
    unknown = set(data) - set(known)
    if not unknown:
        return
    errors = {
        shortened(name, NAME_LENGTH): [
            serializers.ErrorDetail(
                str(_("There is no such field.")), code="unknown_field"
            )
        ]
        for name in heapq.nsmallest(MOST_NAMES, unknown)
    }
    if len(unknown) > MOST_NAMES:
        sentence = _("{count} fields do not exist. The first {named} are named here.")
        errors["non_field_errors"] = [
            serializers.ErrorDetail(
                sentence.format(count=len(unknown), named=MOST_NAMES),
                code="unknown_field",
            )
        ]
    raise serializers.ValidationError(errors)

"""The REST API of callbacks: what became of them, once more, and what signs them."""

from __future__ import annotations

from typing import Any, cast

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.models import User
from accounts.scopes import Scope
from transcription.api.callback_filters import CallbackFilter
from transcription.api.callback_serializers import (
    CallbackDetailSerializer,
    CallbackSecretSerializer,
    CallbackSerializer,
    ReplayRequestSerializer,
    ReplaySerializer,
    TestRequestSerializer,
)
from transcription.api.callbacks import TEST_EVENT
from transcription.api.views import UNAUTHORIZED, problem
from transcription.documents.callbacks import (
    callback_detail_document,
    callback_document,
    secret_document,
)
from transcription.documents.encoding import Document
from transcription.models import Callback, CallbackSecret
from transcription.services import callback_secrets, callbacks
from whisperhub.api.addresses import site_of
from whisperhub.api.fields import flatten

UNKNOWN = {404: problem("No callback of yours has this id.")}


def secret_answer(valid: list[CallbackSecret]) -> Response:
    """The newest secret, and what is left of the former ones; no cache may keep it."""
    return Response(secret_document(valid), headers={"Cache-Control": "no-store"})


@extend_schema_view(
    list=extend_schema(
        summary="List your callbacks, newest first",
        description="Those of all keys of the owner, without their attempts.",
        responses={
            200: CallbackSerializer(many=True),
            400: problem("A filter or page value is not allowed."),
            **UNAUTHORIZED,
        },
    ),
    retrieve=extend_schema(
        summary="Show a callback and each attempt",
        description="One of another owner is not found.",
        responses={200: CallbackDetailSerializer, **UNAUTHORIZED, **UNKNOWN},
    ),
)
class CallbackViewSet(GenericViewSet[Callback]):
    """Callbacks of the key's owner."""

    serializer_class = CallbackSerializer
    filterset_class = CallbackFilter
    # By the method, but where an action says otherwise.
    required_scope: Scope | None = None
    lookup_field = "public_id"
    lookup_value_converter = "uuid"
    queryset = Callback.objects.none()

    def get_queryset(self) -> QuerySet[Callback]:
        """Another owner's callback does not exist for this key."""
        owner = cast(User, self.request.user)
        return Callback.objects.filter(owner=owner).select_related("task")

    def list(self, request: Request) -> Response:
        """A page, without the attempts of each."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset())) or []
        site = site_of(request)
        return self.get_paginated_response(
            [callback_document(callback, site=site) for callback in page]
        )

    def retrieve(self, request: Request, public_id: Any = None) -> Response:
        """One callback with its attempts."""
        return Response(self._shown(self.get_object()))

    def _shown(self, callback: Callback) -> Document:
        return callback_detail_document(callback, site=site_of(self.request))

    @extend_schema(
        summary="Send a callback once more",
        description=(
            "At once, under the same id, and then by the schedule from its start; also "
            "one that was delivered. What it says is read anew."
        ),
        request=None,
        responses={
            202: CallbackDetailSerializer,
            **UNAUTHORIZED,
            **UNKNOWN,
            409: problem("It is being sent at this moment (`delivery_under_way`)."),
        },
    )
    @action(detail=True, methods=["post"], filterset_class=None)
    def replay(self, request: Request, public_id: Any = None) -> Response:
        """One more delivery."""
        callbacks.replay(self.get_object())
        return Response(
            self._shown(self.get_object()),
            status=status.HTTP_202_ACCEPTED,
        )

    @extend_schema(
        summary="Send all undeliverable callbacks of a time once more",
        description="Those that were given up, test events excepted.",
        request={"application/json": ReplayRequestSerializer},
        responses={
            202: ReplaySerializer,
            400: problem("A moment is missing or none."),
            **UNAUTHORIZED,
        },
    )
    @action(
        detail=False,
        methods=["post"],
        url_path="replay",
        filterset_class=None,
        pagination_class=None,
    )
    def replay_undeliverable(self, request: Request) -> Response:
        """Many more deliveries."""
        wanted = ReplayRequestSerializer(data=flatten(request))
        wanted.is_valid(raise_exception=True)
        count = callbacks.begin_undeliverable_again(
            cast(User, request.user),
            since=wanted.validated_data["created_after"],
            until=wanted.validated_data["created_before"],
        )
        return Response({"count": count}, status=status.HTTP_202_ACCEPTED)

    @extend_schema(
        summary="Send a test event",
        description=(
            "The process that sends all events sends it, once, in a moment. Look at "
            "the address in `Location` until its `state` is `delivered` or "
            "`undeliverable`. It is kept for a week."
        ),
        callbacks=[TEST_EVENT],
        request={"application/json": TestRequestSerializer},
        responses={
            202: CallbackDetailSerializer,
            400: problem("The address or a header is not allowed."),
            **UNAUTHORIZED,
            429: problem("Ten are on their way already (`too_many_tests`)."),
        },
    )
    @action(
        detail=False,
        methods=["post"],
        url_path="test",
        filterset_class=None,
        pagination_class=None,
    )
    def send_test(self, request: Request) -> Response:
        """Try whether events arrive."""
        wanted = TestRequestSerializer(data=flatten(request))
        wanted.is_valid(raise_exception=True)
        test = callbacks.send_test(
            cast(User, request.user),
            wanted.validated_data["callback_url"],
            wanted.validated_data["callback_headers"],
        )
        body = self._shown(test)
        return Response(
            body,
            status=status.HTTP_202_ACCEPTED,
            headers={"Location": body["links"]["self"], "Retry-After": "1"},
        )

    @extend_schema(
        summary="Show the secret that signs your callbacks",
        description=(
            "One for all your receivers. Every event carries `webhook-signature`, "
            "which any library for Standard Webhooks checks with this secret."
        ),
        responses={200: CallbackSecretSerializer, **UNAUTHORIZED},
    )
    @action(
        detail=False,
        filterset_class=None,
        pagination_class=None,
        # Who has it can sign in our name.
        required_scope=Scope.WRITE,
    )
    def secret(self, request: Request) -> Response:
        """The owner's secret, made when it is first asked for."""
        owner = cast(User, request.user)
        return secret_answer(callback_secrets.secrets_of(owner.pk))

    @extend_schema(
        summary="Replace the secret that signs your callbacks",
        description=(
            "The former secret goes on signing beside the new one, for a day unless "
            "the operator chose otherwise. Meanwhile give your receivers the new one."
        ),
        request=None,
        responses={
            200: CallbackSecretSerializer,
            **UNAUTHORIZED,
            409: problem("Five secrets are valid still (`too_many_secrets`)."),
        },
    )
    @action(
        detail=False,
        methods=["post"],
        url_path="secret/rotate",
        filterset_class=None,
        pagination_class=None,
    )
    def rotate_secret(self, request: Request) -> Response:
        """A new secret."""
        owner = cast(User, request.user)
        return secret_answer(callback_secrets.rotate(owner.pk))

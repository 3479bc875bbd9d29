"""The REST API of callbacks: what became of them, once more, and what signs them."""

from __future__ import annotations

from typing import cast

from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.models import User
from transcription.api.callback_serializers import CallbackSecretSerializer
from transcription.api.views import UNAUTHORIZED, problem
from transcription.models import Callback, CallbackSecret
from transcription.services import callback_secrets


def secret_answer(valid: list[CallbackSecret]) -> Response:
    """The newest secret, and what is left of the former ones; no cache may keep it."""
    newest, *former = valid
    body = CallbackSecretSerializer(
        {"secret": newest.secret, "created_at": newest.created_at, "former": former}
    ).data
    return Response(body, headers={"Cache-Control": "no-store"})


class CallbackViewSet(GenericViewSet[Callback]):
    """Callbacks of the key's owner."""

    queryset = Callback.objects.none()

    @extend_schema(
        summary="Show the secret that signs your callbacks",
        description=(
            "One for all your receivers. Every event carries `webhook-signature`, "
            "which any library for Standard Webhooks checks with this secret."
        ),
        responses={200: CallbackSecretSerializer, **UNAUTHORIZED},
    )
    @action(detail=False, pagination_class=None)
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
        pagination_class=None,
    )
    def rotate_secret(self, request: Request) -> Response:
        """A new secret."""
        owner = cast(User, request.user)
        return secret_answer(callback_secrets.rotate(owner.pk))

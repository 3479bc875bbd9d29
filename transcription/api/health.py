"""Signs of life and of readiness, for load balancers and supervisors."""

from __future__ import annotations

from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from transcription.services import health


@require_safe
@never_cache
def readyz(request: HttpRequest) -> JsonResponse:
    """Tell whether requests can be answered, and how the other parts are."""
    found = health.recent_readiness.get()
    return JsonResponse(
        {
            "status": found.status,
            "database": found.database,
            "broker": found.broker,
            "dispatcher": found.dispatcher,
        },
        status=200 if found.is_ready else 503,
    )

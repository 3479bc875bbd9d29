"""Addresses of the web process."""

from django.contrib import admin
from django.http import HttpRequest, JsonResponse
from django.urls import include, path
from drf_spectacular.views import (
    SpectacularAPIView,
    SpectacularRedocView,
    SpectacularSwaggerView,
)

from transcription.api.health import readyz


def healthz(request: HttpRequest) -> JsonResponse:
    """Answer that this process lives; touches nothing else."""
    return JsonResponse({"status": "ok"})


# Ours: the package's own page fetches fonts from another server.
redoc = SpectacularRedocView.as_view(url_name="schema", template_name="redoc.html")

urlpatterns = [
    path("", SpectacularSwaggerView.as_view(url_name="schema"), name="docs"),
    path("redoc/", redoc, name="redoc"),
    path("api/v1/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/v1/", include("transcription.api.urls")),
    path("admin/", admin.site.urls),
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
]
handler400 = "transcription.api.exceptions.bad_request"
handler404 = "transcription.api.exceptions.page_not_found"
handler500 = "transcription.api.exceptions.server_error"

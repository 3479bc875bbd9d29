"""Addresses of the web process."""

from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.http import HttpRequest, JsonResponse
from django.urls import include, path
from drf_spectacular.views import (
    SpectacularAPIView,
    SpectacularRedocView,
    SpectacularSwaggerView,
)

from transcription.api.health import readyz


async def healthz(request: HttpRequest) -> JsonResponse:
    """Answer that this process lives; touches nothing else.

    Not in the threads of other views, which may all wait for a database.
    """
    return JsonResponse({"status": "ok"})


# Ours: with a link to sign in, after which the page acts for the person.
swagger = SpectacularSwaggerView.as_view(
    url_name="schema", template_name="swagger.html"
)
# Ours: the package's own page fetches fonts from another server.
redoc = SpectacularRedocView.as_view(url_name="schema", template_name="redoc.html")

# The admin's own is for staff only.
login = LoginView.as_view(
    template_name="admin/login.html",
    redirect_authenticated_user=True,
    next_page="docs",
    extra_context={"title": "Sign in"},
)

urlpatterns = [
    path("", swagger, name="docs"),
    path("redoc/", redoc, name="redoc"),
    path("api/v1/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/v1/", include("transcription.api.urls")),
    path("login/", login, name="login"),
    path("logout/", LogoutView.as_view(next_page="docs"), name="logout"),
    path("admin/", admin.site.urls),
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
]
handler400 = "transcription.api.exceptions.bad_request"
handler404 = "transcription.api.exceptions.page_not_found"
handler500 = "transcription.api.exceptions.server_error"

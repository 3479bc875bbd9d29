"""Addresses of the web process."""

from django.contrib import admin
from django.contrib.auth.views import LogoutView
from django.http import HttpRequest, JsonResponse
from django.urls import include, path

from accounts.logins import hold_back_guesses
from transcription.api.health import readyz
from whisperhub.web.pages import DocumentView, RedocPage, SignInPage, SwaggerPage


async def healthz(request: HttpRequest) -> JsonResponse:
    """Answer that this process lives; touches nothing else.

    Not in the threads of other views, which may all wait for a database.
    """
    return JsonResponse({"status": "ok"})


urlpatterns = [
    path("", SwaggerPage.as_view(url_name="schema"), name="docs"),
    path("redoc/", RedocPage.as_view(url_name="schema"), name="redoc"),
    path("api/v1/schema/", DocumentView.as_view(), name="schema"),
    path("api/v1/", include("transcription.api.urls")),
    path("login/", hold_back_guesses(SignInPage.as_view()), name="login"),
    path("logout/", LogoutView.as_view(next_page="docs"), name="logout"),
    # Found before the same address of the admin.
    path("admin/login/", hold_back_guesses(admin.site.login)),
    path("admin/", admin.site.urls),
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
]
handler400 = "transcription.api.exceptions.bad_request"
handler404 = "transcription.api.exceptions.page_not_found"
handler500 = "transcription.api.exceptions.server_error"

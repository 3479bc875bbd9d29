"""The pages of the API's documentation, and the sign-in page, in two languages."""

from __future__ import annotations

import re
from typing import Any, Final

from django.conf import settings
from django.contrib.auth.views import LoginView
from django.http import HttpResponse, HttpResponseBase
from django.utils.cache import get_conditional_response, patch_vary_headers
from django.utils.translation import get_language, gettext, gettext_lazy
from django.utils.translation import gettext_noop as _
from drf_spectacular.plumbing import set_query_parameters
from drf_spectacular.settings import spectacular_settings
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import (
    SpectacularAPIView,
    SpectacularRedocView,
    SpectacularSwaggerView,
)
from rest_framework.request import Request
from rest_framework.response import Response

from whisperhub.web import languages
from whisperhub.web.openapi_documents import documents
from whisperhub.web.response_headers import PAGE_POLICY, POLICY

# As Django's own middleware finds it.
GZIP: Final = re.compile(r"\bgzip\b")

# Words that Swagger UI and ReDoc write themselves; neither speaks another language.
WORDS_OF_VIEWERS = (
    _("Authorize"),
    _("Available authorizations"),
    _("Authorized"),
    _("Logout"),
    _("Close"),
    _("Value:"),
    _("Try it out"),
    _("Cancel"),
    _("Execute"),
    _("Clear"),
    _("Reset"),
    _("Servers"),
    _("Parameters"),
    _("No parameters"),
    _("Name"),
    _("Description"),
    _("Request body"),
    _("required"),
    _("Required"),
    _("Responses"),
    _("Response"),
    _("Response body"),
    _("Response headers"),
    _("Request duration"),
    _("Request URL"),
    _("Server response"),
    _("Code"),
    _("Details"),
    _("Links"),
    _("No links"),
    _("Media type"),
    _("Controls"),
    _("header."),
    _("Headers:"),
    _("Type"),
    _("Example Value"),
    _("Example Description"),
    _("Examples"),
    _("Examples:"),
    _("Example"),
    _("Schema"),
    _("Schemas"),
    _("Model"),
    _("Callbacks"),
    _("Callback"),
    _("Download"),
    _("Loading..."),
    _("Loading"),
    _("Send empty value"),
    _("Default value"),
    _("Default value :"),
    _("Available values"),
    _("Expand all"),
    _("Collapse all"),
    _("Choose File"),
    _("Search..."),
    _("Authorizations:"),
    _("Download OpenAPI specification"),
    _("Authentication"),
    _("path Parameters"),
    _("query Parameters"),
    _("header Parameters"),
    _("Request Body schema:"),
    _("Request samples"),
    _("Response samples"),
    _("Callback payload samples"),
    _("Payload"),
    _("Content type"),
    _("Copy"),
    _("Copied"),
    _("Response Schema:"),
    _("Response Headers"),
    _("Default:"),
    _("Enum"),
    _("Items Enum"),
    _("Items"),
    _("Security Scheme Type:"),
    _("HTTP Authorization Scheme:"),
    _("Bearer format:"),
    _("API docs by Redocly"),
    _("non-empty"),
    _("or"),
    # Behind a number.
    _("# characters"),
    _("# items"),
    _("# properties"),
)
# What the catalogues of Django and DRF lack of what our clients may see.
WORDS_OF_FRAMEWORKS = (
    _("Error:"),
    _("Integer value too large to convert to float"),
)


def words_of_viewers() -> dict[str, str]:
    """Those words by their English, in the current language; none in English."""
    said = {word: gettext(word) for word in WORDS_OF_VIEWERS}
    return {word: text for word, text in said.items() if word != text}


class DocumentView(SpectacularAPIView):
    """The OpenAPI document; `LanguageMiddleware` has chosen the language."""

    # Public: it asks for no key and uses none up. Nor has it anything to do with a
    # database.
    authentication_classes = ()
    permission_classes = ()
    throttle_classes = ()

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """The document, or that it has not changed."""
        renderer: Any = request.accepted_renderer
        document = documents.get(str(get_language()), renderer)
        compress = GZIP.search(request.headers.get("Accept-Encoding", "")) is not None
        name = f"{spectacular_settings.TITLE}.{renderer.format}"
        response = HttpResponse(
            document.compressed if compress else document.body,
            content_type=content_type_of(renderer),
            headers={
                "ETag": document.etag,
                # To be kept, and asked for again each time: a new release changes it.
                "Cache-Control": "public, no-cache",
                "Content-Disposition": f'inline; filename="{name}"',
            },
        )
        if compress:
            response.headers["Content-Encoding"] = "gzip"
        patch_vary_headers(response, (*languages.VARIES_BY, "Accept-Encoding"))
        return get_conditional_response(  # type: ignore[return-value]
            request._request, etag=document.etag, response=response
        )


def content_type_of(renderer: Any) -> str:
    """The header's value, as DRF writes it."""
    if not renderer.charset:
        return str(renderer.media_type)
    return f"{renderer.media_type}; charset={renderer.charset}"


class InOneLanguage:
    """A page whose viewer loads the document in the page's language.

    Attributes:
        page: the name of its address.
        policy: what the page may load.
    """

    page = ""
    policy = PAGE_POLICY

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The page, with the words that its viewer lacks."""
        response: Response = super().get(request, *args, **kwargs)  # type: ignore[misc]
        response.data.update(
            page=self.page, words=words_of_viewers(), languages=settings.LANGUAGES
        )
        response.headers[POLICY] = self.policy
        return response

    def _get_schema_url(self, request: Request) -> str:
        address = str(super()._get_schema_url(request))  # type: ignore[misc]
        asked = {languages.PARAMETER: get_language()}
        return str(set_query_parameters(address, **asked))


class SwaggerPage(InOneLanguage, SpectacularSwaggerView):
    """Swagger UI, with a link to sign in, after which it acts for the person."""

    page = "docs"
    template_name = "swagger.html"


class RedocPage(InOneLanguage, SpectacularRedocView):
    """ReDoc, without the fonts that the package's own page fetches elsewhere."""

    page = "redoc"
    # Its search runs in a worker that it writes itself.
    policy = f"{PAGE_POLICY}; worker-src blob:"
    template_name = "redoc.html"


class SignInPage(LoginView):
    """Signs anybody in; the admin's own is for staff only."""

    template_name = "admin/login.html"
    redirect_authenticated_user = True
    next_page = "docs"
    extra_context = {"title": gettext_lazy("Sign in")}

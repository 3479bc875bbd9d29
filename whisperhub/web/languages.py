"""The language that a request is answered in.

`?lang=` decides, then what the browser keeps from the last time, then Accept-Language.
A language that we do not speak is passed over, so nothing here refuses a request.
"""

from __future__ import annotations

from http.cookies import CookieError, SimpleCookie
from typing import Any, Final
from urllib.parse import parse_qs

from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.http import HttpRequest, HttpResponseBase
from django.utils import translation
from django.utils.cache import patch_vary_headers
from django.utils.translation.trans_real import parse_accept_lang_header

from whisperhub.web.middleware import TwoWayMiddleware

PARAMETER: Final = "lang"
# Depend on the language: pages, problems, the document, and JSON with sentences in it.
# Subtitles and static files do not.
SPOKEN_TYPES: Final = frozenset(
    {
        "application/json",
        "application/problem+json",
        "application/vnd.oai.openapi",
        "application/vnd.oai.openapi+json",
        "application/yaml",
        "text/html",
    }
)
VARIES_BY: Final = ("Accept-Language", "Cookie")
YEAR_SECONDS: Final = 365 * 24 * 3600


def supported(wanted: str | None) -> str | None:
    """The language of ours that a tag such as `zh-CN` or `zh_Hans` means, if any."""
    if not wanted:
        return None
    tag = wanted.strip().lower().replace("_", "-")
    try:
        return translation.get_supported_language_variant(tag)
    except (LookupError, ValueError):
        return None


def choose_language(asked: str | None, kept: str | None, accepted: str) -> str:
    """The first language of ours among what a request names.

    Args:
        asked: value of `lang` in the query string.
        kept: value of the cookie.
        accepted: the header Accept-Language.
    """
    for tag in (asked, kept):
        if language := supported(tag):
            return language
    for tag, quality in parse_accept_lang_header(accepted):
        if quality > 0 and (language := supported(tag)):
            return language
    return settings.LANGUAGE_CODE


def language_of_scope(scope: Any) -> str:
    """The language of a request that Django has not seen.

    Args:
        scope: of ASGI, for HTTP.
    """
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
    kept = None
    try:
        cookies = SimpleCookie(headers.get(b"cookie", ""))
        if settings.LANGUAGE_COOKIE_NAME in cookies:
            kept = cookies[settings.LANGUAGE_COOKIE_NAME].value
    except CookieError:
        pass
    asked = query.get(PARAMETER, [None])[-1]
    return choose_language(asked, kept, headers.get(b"accept-language", ""))


class LanguageMiddleware(TwoWayMiddleware):
    """Has each request answered in its language, and the answer say which that is.

    In place of Django's LocaleMiddleware, which knows no parameter. The choice made on
    a page is kept in a cookie, so that the next page speaks the same language.
    """

    def answer(self, request: HttpRequest) -> HttpResponseBase:
        """Answer one request in its language."""
        language = self._language_of(request)
        with translation.override(language):
            response: HttpResponseBase = self.get_response(request)
        return self._labelled(request, response, language)

    async def answer_async(self, request: HttpRequest) -> HttpResponseBase:
        """Answer one request in its language, in the event loop."""
        language = self._language_of(request)
        with translation.override(language):
            response: HttpResponseBase = await self.get_response(request)
        return self._labelled(request, response, language)

    @staticmethod
    def _language_of(request: HttpRequest) -> str:
        language = choose_language(
            _asked(request),
            request.COOKIES.get(settings.LANGUAGE_COOKIE_NAME),
            request.headers.get("Accept-Language", ""),
        )
        request.LANGUAGE_CODE = language
        return language

    @staticmethod
    def _labelled(
        request: HttpRequest, response: HttpResponseBase, language: str
    ) -> HttpResponseBase:
        kind = response.headers.get("Content-Type", "").partition(";")[0].lower()
        if kind not in SPOKEN_TYPES:
            return response
        patch_vary_headers(response, VARIES_BY)
        response.headers.setdefault("Content-Language", language)
        if kind == "text/html" and supported(_asked(request)):
            response.set_cookie(
                settings.LANGUAGE_COOKIE_NAME,
                language,
                max_age=YEAR_SECONDS,
                secure=settings.SESSION_COOKIE_SECURE,
                httponly=True,
                samesite="Lax",
            )
        return response


def _asked(request: HttpRequest) -> str | None:
    try:
        return request.GET.get(PARAMETER)
    except SuspiciousOperation:
        # Too many parameters: whoever reads them next answers so.
        return None

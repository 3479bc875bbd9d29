"""For servers that speak WSGI only; uploads then need the front server's size limit."""

import os
from typing import Any

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "whisperhub.settings")

django_application = get_wsgi_application()

from django.conf import settings  # noqa: E402  (needs the lines above)

from whisperhub.network.proxies import forwarded_environ  # noqa: E402


def application(environ: dict[str, Any], start_response: Any) -> Any:
    """Answer a request, with what is known of its client."""
    forwarded_environ(environ, settings.TRUSTED_PROXIES)
    return django_application(environ, start_response)

"""Where the service lies for the client of a request."""

from __future__ import annotations

from urllib.parse import quote

from django.urls import get_script_prefix
from rest_framework.request import Request


def site_of(request: Request) -> str:
    """What addresses in documents begin with: scheme, host and the path of the mount.

    Without a slash at its end.
    """
    mounted_at = quote(get_script_prefix(), safe="/~:@!$&'()*+,;=")
    return request.build_absolute_uri(mounted_at).rstrip("/")

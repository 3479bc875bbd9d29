"""For servers that speak WSGI only; uploads then need the front server's size limit."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "whisperhub.settings")

application = get_wsgi_application()

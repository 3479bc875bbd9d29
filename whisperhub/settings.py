"""Every setting, each named once; docs/configuration.md describes them."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import django_stubs_ext
from django.core.exceptions import ImproperlyConfigured

from transcription.engines.spec import DEFAULT_ENGINE, ENGINES
from transcription.media.types import parse_allowed_types
from whisperhub import databases, env, private_files, secrets
from whisperhub.logging import logging_config
from whisperhub.loopback import check_open_mode
from whisperhub.network import egress
from whisperhub.network.proxies import parse_proxies

# Classes such as ModelAdmin take type arguments only with this.
django_stubs_ext.monkeypatch()

BASE_DIR = Path(__file__).resolve().parent.parent

ENV_FILE = env.path("ENV_FILE", ".env", base=BASE_DIR)
env.load_file(ENV_FILE)

# --- Where things live ---------------------------------------------------------------

# Every process that writes our files reads these settings first.
os.umask(private_files.PRIVATE_UMASK)
DATA_DIR = env.folder("DATA_DIR", "var", base=BASE_DIR)
MEDIA_GROUP = env.group("MEDIA_GROUP")
MEDIA_ROOT = env.folder("MEDIA_DIR", "media", base=DATA_DIR, group=MEDIA_GROUP)
if MEDIA_GROUP is not None:
    os.umask(private_files.GROUP_UMASK)
    if MEDIA_ROOT.is_relative_to(DATA_DIR):
        raise ImproperlyConfigured(
            "WHISPERHUB_MEDIA_GROUP: the group cannot reach the media folder inside "
            "the data folder, which is for one user. Set WHISPERHUB_MEDIA_DIR to a "
            "folder outside of it."
        )
BROKER_DIR = DATA_DIR / "broker"
MODEL_DIR = env.path("MODEL_DIR", "models", base=DATA_DIR)
RUN_DIR = DATA_DIR / "run"

# --- Web -----------------------------------------------------------------------------

DEBUG = env.boolean("DEBUG", default=False)
SECRET_KEY = env.text("SECRET_KEY") or secrets.read_or_create(DATA_DIR / "secret_key")
HOST = env.text("HOST", "127.0.0.1")
PORT = env.integer("PORT", 8000, least=1)
# 0: by the cores of the machine.
WEB_PROCESSES = env.integer("WEB_PROCESSES", 0, least=0)
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = env.words("TRUSTED_ORIGINS")
TRUSTED_PROXIES = env.read("TRUSTED_PROXIES", "", parse_proxies)
HTTPS = env.boolean("HTTPS", default=False)
if HTTPS and not TRUSTED_PROXIES:
    # Every request would be redirected to itself for ever.
    raise ImproperlyConfigured(
        "WHISPERHUB_HTTPS: a proxy in front ends TLS, and WHISPERHUB_TRUSTED_PROXIES "
        "does not name it. Set it to the proxy's address, such as 127.0.0.1."
    )
OPEN_MODE = env.boolean("OPEN_MODE", default=False)
if OPEN_MODE:
    check_open_mode(HOST, ALLOWED_HOSTS)

# Warnings that the operator accepts.
SILENCED_SYSTEM_CHECKS = env.words("SILENCED_CHECKS")

ROOT_URLCONF = "whisperhub.urls"
ASGI_APPLICATION = "whisperhub.asgi.application"
WSGI_APPLICATION = "whisperhub.wsgi.application"
AUTH_USER_MODEL = "accounts.User"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Behind a proxy that ends TLS, cookies and redirects must say so.
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = HTTPS
# The scheme comes from trusted proxies; `network.proxies` reads it before Django.
SECURE_PROXY_SSL_HEADER = None
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0  # one year
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS

INSTALLED_APPS = [
    # Before the admin: its page frame is ours.
    "transcription",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_celery_results",
    "whisperhub",
    "accounts",
    "crawlers",
    "workers",
]

MIDDLEWARE = [
    "whisperhub.web.request_id.RequestIdMiddleware",
    "whisperhub.web.response_headers.ResponseHeadersMiddleware",
    "whisperhub.web.languages.LanguageMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    # Innermost, because it is sync only: for an async view, what is outside of it runs
    # in one thread, and what is inside goes there and back for each middleware.
    "whisperhub.web.static.StaticFilesMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("zh-hans", "简体中文")]
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = True
# One catalogue for all apps, before those of the packages; `make messages` keeps it.
LOCALE_PATHS = [BASE_DIR / "whisperhub" / "locale"]
# Dates of the admin in ISO 8601, whatever the language.
FORMAT_MODULE_PATH = "whisperhub.formats"

STATIC_URL = "static/"
# Static files are served from where the packages hold them, so that there is no
# collecting step between a checkout and a running service.
WHITENOISE_USE_FINDERS = True
# What clients look for at the root of every site.
WHITENOISE_ROOT = BASE_DIR / "whisperhub" / "root"
WHITENOISE_AUTOREFRESH = DEBUG

# --- Database ------------------------------------------------------------------------

DATABASES: dict[str, Any] = {
    "default": env.read(
        "DATABASE_URL", "", partial(databases.settings_from_url, data_dir=DATA_DIR)
    )
}
if DATABASES["default"]["ENGINE"] == databases.SQLITE:
    private_files.close_files(
        private_files.database_files(Path(DATABASES["default"]["NAME"]))
    )
# Celery's result table indexes this column; MySQL's older row formats index 767 bytes,
# 191 characters of utf8mb4. It belongs to the first migration, on every database.
DJANGO_CELERY_RESULTS_TASK_ID_MAX_LENGTH = 191

# --- Uploads and media ---------------------------------------------------------------

# None: no limit but the free space.
MAX_UPLOAD_BYTES = env.size_limit("MAX_UPLOAD_SIZE", "2GiB")
# Everything but a file: JSON, and the fields of a form.
MAX_REQUEST_BYTES = env.size("MAX_REQUEST_SIZE", "1MiB")
DATA_UPLOAD_MAX_MEMORY_SIZE = FILE_UPLOAD_MAX_MEMORY_SIZE = MAX_REQUEST_BYTES
ALLOWED_TYPES = env.read("ALLOWED_TYPES", "audio,video", parse_allowed_types)
MIN_FREE_BYTES = env.size("MIN_FREE_SPACE", "512MiB")
UPLOAD_SILENCE_SECONDS = env.number("UPLOAD_SILENCE_SECONDS", 30, least=0.1)
# From its first byte to its last: of a form with a file, and of any other body.
UPLOAD_SECONDS = env.number("UPLOAD_SECONDS", 86_400, least=1)
BODY_SECONDS = env.number("BODY_SECONDS", 120, least=0.1)
# Of bodies, and fields of forms, that one web process holds at a time.
BODY_MEMORY_BYTES = env.size("BODY_MEMORY", "64MiB")
HEADER_SECONDS = env.number("HEADER_SECONDS", 10, least=0.1)
# How long a client may read nothing of its answer.
ANSWER_SECONDS = env.number("ANSWER_SECONDS", 30, least=0.1)
# Of one web process; 0 for those of one client: no limit but the first.
MAX_CONNECTIONS = env.integer("MAX_CONNECTIONS", 2000, least=1)
MAX_CONNECTIONS_PER_CLIENT = env.integer("MAX_CONNECTIONS_PER_CLIENT", 250, least=0)
MAX_MEDIA_SECONDS = env.integer("MAX_MEDIA_SECONDS", 86_400, least=1)
# Beyond the address space that a decoder process has at its start; 0: no limit.
DECODER_MEMORY_BYTES = env.size("DECODER_MEMORY", "1GiB")
# 0: no limit.
DECODER_CPU_SECONDS = env.number("DECODER_CPU_SECONDS", 60, least=0)
DECODER_CPU_SECONDS_PER_MINUTE = env.number(
    "DECODER_CPU_SECONDS_PER_MINUTE", 3, least=0
)
OWNER_ROOM_SHARE = env.number("OWNER_ROOM_SHARE", 0.5, least=0.01)
KEEP_ORIGINALS = env.boolean("KEEP_ORIGINALS", default=False)
# 0: what a task that failed or was cancelled had goes with its end.
KEEP_FAILED_HOURS = env.number("KEEP_FAILED_HOURS", 24, least=0)
FILE_UPLOAD_TEMP_DIR = MEDIA_ROOT / "incoming"
# An upload is a file on the media volume from its first byte: moving it into its task's
# folder is then a rename.
# The umask takes from the group what is not its own.
FILE_UPLOAD_TEMP_DIR.mkdir(exist_ok=True, mode=0o770)
FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.TemporaryFileUploadHandler"]
FILE_UPLOAD_PERMISSIONS = (
    private_files.FILE_MODE if MEDIA_GROUP is None else private_files.GROUP_FILE_MODE
)
DATA_UPLOAD_MAX_NUMBER_FILES = 1
REUSE_RESULTS = env.boolean("REUSE_RESULTS", default=False)
IDEMPOTENCY_SECONDS = env.number("IDEMPOTENCY_SECONDS", 86_400, least=1)

# --- Queue ---------------------------------------------------------------------------

BROKER_URL = env.text("BROKER_URL")
LEASE_SECONDS = env.number("LEASE_SECONDS", 15, least=1)
HEARTBEAT_SECONDS = env.number("HEARTBEAT_SECONDS", 3, least=0.1)
DISPATCH_SECONDS = env.number("DISPATCH_SECONDS", 2, least=0.1)
MAX_ATTEMPTS = env.integer("MAX_ATTEMPTS", 3, least=1)
RETRY_SECONDS = env.numbers("RETRY_SECONDS", "5,30", least=0)
# 0: strict priorities for ever.
AGEING_SECONDS = env.number("AGEING_SECONDS", 900, least=0)
MEDIA_WORKERS = env.integer("MEDIA_WORKERS", 2, least=1)

# --- Links and other ways out --------------------------------------------------------

MAX_LINK_BYTES = env.size("MAX_LINK_SIZE", "2GiB")
LINK_SECONDS = env.integer("LINK_SECONDS", 1800, least=1)
LINK_MIN_BYTES_PER_SECOND = env.size("LINK_MIN_RATE", "10KiB")
OUTGOING_ALLOWED = env.read("OUTGOING_ALLOWED", "", egress.parse_allowed)
OUTGOING_PORTS = env.read("OUTGOING_PORTS", "80,443", egress.parse_ports)
OUTGOING_AUTHORITIES = env.file("OUTGOING_AUTHORITIES", base=DATA_DIR)

# --- Callbacks -----------------------------------------------------------------------

CALLBACK_DELAYS = env.numbers(
    "CALLBACK_DELAYS", "5,300,1800,7200,18000,36000,50400,72000,86400", least=0
)
CALLBACK_SECONDS = env.number("CALLBACK_SECONDS", 20, least=1)
CALLBACK_WORKERS = env.integer("CALLBACK_WORKERS", 8, least=1)
CALLBACK_RESULT_BYTES = env.size("CALLBACK_RESULT_SIZE", "20KiB")
CALLBACK_SECRET_OVERLAP_SECONDS = env.number(
    "CALLBACK_SECRET_OVERLAP_SECONDS", 86_400, least=0
)
PUBLIC_URL = env.web_address("PUBLIC_URL")

# --- Models --------------------------------------------------------------------------

SLOTS = env.text("SLOTS")
DEFAULT_MODEL = env.text("DEFAULT_MODEL")
ENGINE = env.choice("ENGINE", DEFAULT_ENGINE, list(ENGINES))
# A slot above this many resident bytes ends its jobs and starts anew; 0: no limit.
SLOT_MEMORY_BYTES = env.size("SLOT_MEMORY_LIMIT", "0")
# 0: a call of the model may take for ever.
MODEL_CALL_SECONDS = env.number("MODEL_CALL_SECONDS", 600, least=0)
CPU_THREADS = env.integer("CPU_THREADS", 0, least=0)
BATCH_SIZE = env.integer("BATCH_SIZE", 0, least=0)

# --- Limits --------------------------------------------------------------------------

# Of keys that have none of their own, and of requests without a key; 0: no limit.
KEY_REQUESTS_PER_MINUTE = env.integer(
    "KEY_REQUESTS_PER_MINUTE", 0, least=0, most=1_000_000
)
KEY_AUDIO_SECONDS_PER_DAY = env.integer("KEY_AUDIO_SECONDS_PER_DAY", 0, least=0)
KEY_UNFINISHED_TASKS = env.integer("KEY_UNFINISHED_TASKS", 0, least=0)
KEY_WAITING_REQUESTS = env.integer("KEY_WAITING_REQUESTS", 200, least=0, most=100_000)
KEY_HIGHEST_PRIORITY = env.choice(
    "KEY_HIGHEST_PRIORITY", "high", ["high", "normal", "low"]
)
# Attempts to sign in within ten minutes; 0: no limit.
LOGIN_ATTEMPTS = env.integer("LOGIN_ATTEMPTS", 10, least=0, most=1_000_000)
LOGIN_ADDRESS_ATTEMPTS = env.integer(
    "LOGIN_ADDRESS_ATTEMPTS", 100, least=0, most=1_000_000
)

# --- Viewers -------------------------------------------------------------------------

FLOWER_PORT = env.integer("FLOWER_PORT", 5555, least=1)
FLOWER_USER = env.text("FLOWER_USER", "operator")
FLOWER_PASSWORD = env.text("FLOWER_PASSWORD")

# --- API -----------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "accounts.authentication.ApiKeyAuthentication",
        "rest_framework.authentication.SessionAuthentication",
        "accounts.authentication.OpenModeAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["accounts.permissions.HasScope"],
    "DEFAULT_THROTTLE_CLASSES": ["accounts.throttling.RateOfClient"],
    "DEFAULT_PARSER_CLASSES": [
        "rest_framework.parsers.MultiPartParser",
        "rest_framework.parsers.FormParser",
        "whisperhub.api.json_bodies.BoundedJSONParser",
    ],
    "DEFAULT_RENDERER_CLASSES": ["whisperhub.api.json_bodies.AnyTextJSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "transcription.api.document.DocumentedSchema",
    "DEFAULT_PAGINATION_CLASS": "whisperhub.api.pagination.TaskPagination",
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "EXCEPTION_HANDLER": "transcription.api.exceptions.problem_details",
    "DATETIME_FORMAT": "%Y-%m-%dT%H:%M:%S.%fZ",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}

SPECTACULAR_SETTINGS = {
    "TITLE": "WhisperHub",
    "DESCRIPTION": (
        "Speech to text with Whisper on your own machines. Send a recording, get text, "
        "segments and subtitles.\n\n"
        "Errors are problem documents (RFC 9457): `code` is stable and for programs, "
        "`title` and `detail` are for people, `errors` has what is wrong with each "
        "field. Sentences are in English or Chinese: `?lang=zh-hans` or `?lang=en` "
        "decides, else the header `Accept-Language`. Field names, codes and callbacks "
        "are the same in each language."
    ),
    "TAGS": [
        {
            "name": "tasks",
            "x-displayName": "Tasks",
            "description": "Recordings on their way to text.",
        },
        {
            "name": "detect-language",
            "x-displayName": "Language detection",
            "description": "What language is spoken.",
        },
        {
            "name": "models",
            "x-displayName": "Models",
            "description": "What requests may name.",
        },
        {
            "name": "callbacks",
            "x-displayName": "Callbacks",
            "description": "News of finished tasks, on their way to your addresses.",
        },
        {
            "name": "keys",
            "x-displayName": "API keys",
            "description": "Keys of your account; for staff.",
        },
    ],
    "VERSION": "0.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    # What a PATCH needs, it needs.
    "COMPONENT_SPLIT_PATCH": False,
    "SCHEMA_PATH_PREFIX": "/api/v1/",
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "accounts.openapi.describe_headers",
        "transcription.api.document.finish",
    ],
    "ENUM_NAME_OVERRIDES": {
        "TaskStatus": "transcription.models.TranscriptionTask.Status",
        "TaskPriority": "transcription.models.TranscriptionTask.Priority",
        "TaskType": "transcription.models.TranscriptionTask.TaskType",
        "RequestedTaskType": "transcription.api.serializers.requests.TASK_TYPES",
        "TaskSource": "transcription.models.TranscriptionTask.Source",
        "CallbackState": "transcription.models.Callback.State",
        "CallbackEvent": "transcription.models.Callback.Event",
        "EngineName": "transcription.engines.spec.ENGINE_CHOICES",
        "Batching": "transcription.engines.options.BATCHING",
        "ServedModelState": "transcription.api.serializers.models.MODEL_STATES",
        "KeyScope": "accounts.scopes.Scope",
        "KeyState": "accounts.models.ApiKey.State",
    },
    "SWAGGER_UI_SETTINGS": {
        "persistAuthorization": True,
        "deepLinking": True,
        "displayRequestDuration": True,
    },
}

# --- Logs ----------------------------------------------------------------------------

LOG_LEVEL = env.choice(
    "LOG_LEVEL", "INFO", ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
)
LOG_DIR = env.folder("LOG_DIR", "logs", base=DATA_DIR, ours=False)
private_files.close_files(LOG_DIR.glob("*.log*"))
LOG_FILE_BYTES = env.size("LOG_FILE_SIZE", "10MiB")
LOG_FILE_COUNT = env.integer("LOG_FILE_COUNT", 7, least=0)
LOG_TO_FILE = env.boolean("LOG_TO_FILE", default=True)
LOGGING = logging_config(
    level=LOG_LEVEL,
    folder=LOG_DIR if LOG_TO_FILE else None,
    max_bytes=LOG_FILE_BYTES,
    backup_count=LOG_FILE_COUNT,
)

"""Addresses below /api/v1/."""

from django.urls import include, path
from rest_framework.routers import SimpleRouter

from transcription.api.callback_views import CallbackViewSet
from transcription.api.keys import KeyViewSet
from transcription.api.usage import UsageView
from transcription.api.views import DetectLanguageView, ModelListView, TaskViewSet

router = SimpleRouter(use_regex_path=False)
router.register("tasks", TaskViewSet, basename="task")
router.register("keys", KeyViewSet, basename="key")
router.register("callbacks", CallbackViewSet, basename="callback")

urlpatterns = [
    path("detect-language/", DetectLanguageView.as_view(), name="detect-language"),
    path("models/", ModelListView.as_view(), name="model-list"),
    path("usage/", UsageView.as_view(), name="usage"),
    path("", include(router.urls)),
]

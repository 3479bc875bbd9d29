"""Addresses below /api/v1/."""

from django.urls import include, path
from rest_framework.routers import SimpleRouter

from transcription.api.views import ModelListView, TaskViewSet

router = SimpleRouter(use_regex_path=False)
router.register("tasks", TaskViewSet, basename="task")

urlpatterns = [
    path("models/", ModelListView.as_view(), name="model-list"),
    path("", include(router.urls)),
]

from django.db import migrations
from django.db.models import OuterRef, Subquery


def fill(apps, schema_editor):
    """Give the callbacks of tasks the owner and the address of their task."""
    Callback = apps.get_model("transcription", "Callback")
    tasks = apps.get_model("transcription", "TranscriptionTask").objects
    task = tasks.filter(pk=OuterRef("task_id"))
    Callback.objects.filter(owner=None).update(
        owner=Subquery(task.values("owner_id")[:1]),
        url=Subquery(task.values("callback_url")[:1]),
    )


def forget_tests(apps, schema_editor):
    """Delete what has no task: before, there was nothing without one."""
    apps.get_model("transcription", "Callback").objects.filter(task=None).delete()


class Migration(migrations.Migration):
    dependencies = [("transcription", "0010_callback_address")]

    operations = [migrations.RunPython(fill, forget_tests)]

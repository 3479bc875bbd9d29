import uuid

from django.db import migrations


def fill(apps, schema_editor):
    keys = apps.get_model("accounts", "ApiKey").objects.using(
        schema_editor.connection.alias
    )
    for pk in list(keys.filter(public_id=None).values_list("pk", flat=True)):
        keys.filter(pk=pk).update(public_id=uuid.uuid4())


class Migration(migrations.Migration):
    dependencies = [("accounts", "0003_apikey_public_id")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]

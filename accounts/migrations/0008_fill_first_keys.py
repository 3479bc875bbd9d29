from django.db import migrations


def fill(apps, schema_editor):
    keys = apps.get_model("accounts", "ApiKey").objects.using(
        schema_editor.connection.alias
    )
    # From old to new: the line of a key is known before that of its successor.
    rotated = keys.exclude(replaced_by=None).order_by("pk")
    for pk, successor in list(rotated.values_list("pk", "replaced_by")):
        line = keys.values_list("first_key", flat=True).get(pk=pk) or pk
        keys.filter(pk=successor).update(first_key=line)


class Migration(migrations.Migration):
    dependencies = [("accounts", "0007_apikey_limits")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]

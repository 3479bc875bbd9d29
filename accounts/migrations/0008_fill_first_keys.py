from django.db import migrations


def fill(apps, schema_editor):
    keys = apps.get_model("accounts", "ApiKey").objects.using(
        schema_editor.connection.alias
    )
    successors = dict(keys.exclude(replaced_by=None).values_list("pk", "replaced_by"))
    for first in successors.keys() - set(successors.values()):
        line, key = [], first
        while key := successors.get(key):
            line.append(key)
        keys.filter(pk__in=line).update(first_key=first)


class Migration(migrations.Migration):
    dependencies = [("accounts", "0007_apikey_limits")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]

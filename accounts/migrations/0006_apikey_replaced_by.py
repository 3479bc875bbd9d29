import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0005_public_id_unique")]

    operations = [
        migrations.AddField(
            model_name="apikey",
            name="replaced_by",
            field=models.OneToOneField(
                blank=True,
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="replaces",
                to="accounts.apikey",
            ),
        ),
        migrations.AlterModelOptions(
            name="apikey",
            options={"ordering": ["-created_at", "-pk"], "verbose_name": "API key"},
        ),
    ]

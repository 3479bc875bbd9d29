from django.db import migrations, transaction
from django.db.models import F, Min, OuterRef, Subquery

# Rows of one transaction: workers that run meanwhile wait for it at most.
BATCH = 5_000
# No key has so high an id, so no number of an account is taken for one of a key.
NUMBERS_OF_NEW_ACCOUNTS = 2**62


def batches(rows):
    """Ranges of ids with `BATCH` rows each."""
    last = 0
    while True:
        ids = list(
            rows.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:BATCH]
        )
        if not ids:
            return
        yield rows.filter(pk__gt=last, pk__lte=ids[-1])
        last = ids[-1]


def fill(apps, schema_editor):
    """Have tasks refer to accounts; can go on where it was interrupted."""
    alias = schema_editor.connection.alias
    tasks = apps.get_model("transcription", "TranscriptionTask").objects.using(alias)
    accounts = apps.get_model("accounts", "QuotaAccount").objects.using(alias)
    users = apps.get_model("accounts", "User").objects.using(alias)

    # Keys that are deleted and whose usage is, too, have tasks only.
    known = set(accounts.values_list("legacy_number", flat=True))
    found = (
        tasks.filter(key_line__isnull=False, quota_account=None)
        .order_by()
        .values_list("key_line")
        .annotate(Min("owner_id"))
    )
    for number, owner_id in found:
        owner_id = owner_id if number > 0 else -number
        if number in known or not users.filter(pk=owner_id).exists():
            continue
        account = accounts.create(owner_id=owner_id, legacy_number=number)
        if number < 0:
            users.filter(pk=owner_id, quota_account=None).update(quota_account=account)

    account = accounts.order_by().filter(legacy_number=OuterRef("key_line"))
    for rows in batches(tasks.filter(key_line__isnull=False, quota_account=None)):
        with transaction.atomic(using=alias):
            rows.update(quota_account=Subquery(account.values("pk")))


def unfill(apps, schema_editor):
    """Give the numbers back, and new ones to accounts that never had one."""
    alias = schema_editor.connection.alias
    tasks = apps.get_model("transcription", "TranscriptionTask").objects.using(alias)
    accounts = apps.get_model("accounts", "QuotaAccount").objects.using(alias)
    users = apps.get_model("accounts", "User").objects.using(alias)

    unnumbered = accounts.filter(legacy_number=None)
    without_key = users.exclude(quota_account=None).values("quota_account")
    with transaction.atomic(using=alias):
        unnumbered.filter(pk__in=without_key).update(legacy_number=-F("owner_id"))
        unnumbered.update(legacy_number=NUMBERS_OF_NEW_ACCOUNTS + F("pk"))

    account = accounts.order_by().filter(pk=OuterRef("quota_account_id"))
    for rows in batches(tasks.filter(quota_account__isnull=False)):
        with transaction.atomic(using=alias):
            rows.update(key_line=Subquery(account.values("legacy_number")))


class Migration(migrations.Migration):
    atomic = False
    dependencies = [
        ("transcription", "0034_task_quota_account"),
        ("accounts", "0011_fill_quota_accounts"),
    ]

    operations = [migrations.RunPython(fill, unfill)]

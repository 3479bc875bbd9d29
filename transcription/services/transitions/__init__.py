"""Every change of a task's state: one conditional UPDATE each.

An UPDATE that changes no row means that another process was first, or that this one no
longer holds the lease; the caller then does nothing. Where a function tries several,
each states its whole condition: another process may have changed the row since the one
before found nothing. The arrows are drawn in docs/architecture.md. All moments come
from the database's clock, so that workers on several machines agree.

Every arrow into a final state goes through `ending.end`. These modules import the
queue's turns, quotas, the changes of callbacks and what is below services; of the
services that use them, none.
"""

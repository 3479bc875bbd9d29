"""One inference worker: one device slot, one loaded model, one Celery worker.

Nothing that touches CUDA may be imported before the launcher's CUDA_VISIBLE_DEVICES is
in force, and no job is taken before the model has decoded something.
"""

from __future__ import annotations

import logging
import sys

from django.conf import settings

from transcription.engines.plan import SlotPlan
from transcription.engines.proof import prove
from transcription.engines.registry import create_engine, set_current_engine
from transcription.errors import ModelUnavailableError
from transcription.services import events, slots
from transcription.work.heartbeat import heartbeat
from whisperhub.celery import app
from whisperhub.queues import queue_names, queues
from workers.watchdog import Watchdog

logger = logging.getLogger(__name__)

# The launcher does not restart a slot that ends with this status: the model cannot be
# had, and trying again would change nothing.
MODEL_UNAVAILABLE_STATUS = 3
SLOT_TAKEN_STATUS = 4
# The slot drained itself and is to be started again.
RECYCLE_STATUS = 5


def run_slot(plan: SlotPlan) -> int:
    """Load the slot's model and serve its queues until SIGTERM.

    Returns:
        The exit status of the process.
    """
    # Before the first hint is sent, and registering may send some: Celery reads the
    # queues of this process once.
    app.conf.task_queues = queues(plan.model)
    try:
        record = slots.register(plan)
    except slots.SlotTakenError as error:
        logger.error("%s", error)
        return SLOT_TAKEN_STATUS
    heartbeat.owner = record.owner
    heartbeat.also(record.beat)
    events.listen_for_stops(heartbeat.beat)
    engine = create_engine(
        plan,
        model_dir=settings.MODEL_DIR,
        cpu_threads=settings.CPU_THREADS,
        batch_size=settings.BATCH_SIZE,
    )
    logger.info("Slot %s: loading %s", record.name, plan.model)
    try:
        engine.load()
        prove(engine, plan)
    except ModelUnavailableError as error:
        logger.error("%s", error.message)
        record.fail(error.message)
        return MODEL_UNAVAILABLE_STATUS
    set_current_engine(engine)
    if engine.info.notice:
        logger.warning("Slot %s: %s", record.name, engine.info.notice)
    record.ready(engine.info)
    logger.info("Slot %s: ready, %s on %s", record.name, plan.model, plan.device)
    if settings.MODEL_CALL_SECONDS:
        Watchdog(engine, limit_seconds=settings.MODEL_CALL_SECONDS).start()
    status = consume(plan, record.name, engine.concurrent_jobs)
    record.stop()
    return RECYCLE_STATUS if record.draining.is_set() else status


def consume(plan: SlotPlan, node_name: str, concurrency: int) -> int:
    """Run the Celery worker of a slot in this process; returns its exit status."""
    worker = app.Worker(
        hostname=node_name,
        pool="threads",
        concurrency=concurrency,
        queues=queue_names(plan.model),
        without_gossip=True,
        without_mingle=True,
        # Its banner is for a terminal; what it says is in our own log.
        quiet=True,
        loglevel=logging.getLevelName(logging.getLogger().level),
    )
    worker.start()
    return int(worker.exitcode or 0)


def main(plan: SlotPlan) -> None:
    """Run the slot and end the process with its status."""
    sys.exit(run_slot(plan))

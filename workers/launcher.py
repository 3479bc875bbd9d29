"""Runs one inference worker for each slot of the plan, and keeps them running."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from django.conf import settings

from transcription.engines.plan import SlotPlan
from transcription.services import slots
from transcription.services.database import persistently
from workers.devices import environment_for, plan_slots
from workers.inference import MODEL_UNAVAILABLE_STATUS, SLOT_TAKEN_STATUS
from workers.supervisor import Program, Supervisor, stop_on_signals

logger = logging.getLogger(__name__)

# A worker that is told to stop finishes the jobs it has; so long it may take.
PATIENCE_SECONDS = 30.0


def planned_slots() -> list[SlotPlan]:
    """The slots that the settings ask for on this machine.

    Raises:
        ValueError: WHISPERHUB_SLOTS is malformed.
    """
    return plan_slots(settings.SLOTS, default_engine=settings.ENGINE)


def program_for(slot: SlotPlan) -> Program:
    """The process of a slot as the supervisor sees it."""
    return Program(
        name=slot.name,
        command=[
            sys.executable,
            str(settings.BASE_DIR / "manage.py"),
            "runslot",
            str(slot),
        ],
        environment={**environment_for(slot), "PYTHONUNBUFFERED": "1"},
        cwd=settings.BASE_DIR,
        must_start=False,
        patience_seconds=PATIENCE_SECONDS,
        final_statuses=frozenset({0, MODEL_UNAVAILABLE_STATUS, SLOT_TAKEN_STATUS}),
    )


def run_workers(plan: Sequence[SlotPlan]) -> None:
    """Run the plan until SIGTERM or Ctrl-C."""
    names = {slot.name: slots.slot_name(slot) for slot in plan}

    def release(name: str, pid: int, code: int) -> None:
        """A dead slot's jobs need not wait for their leases to run out."""
        if code:
            persistently(lambda: slots.release_jobs(f"{names[name]}/"), seconds=5)

    supervisor = Supervisor(
        [[program_for(slot) for slot in plan]], verbose=True, on_exit=release
    )
    with stop_on_signals(supervisor):
        supervisor.run()

"""Runs one inference worker for each slot of the plan, and keeps them running."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable, Sequence

from django.conf import settings

from transcription.database import persistently
from transcription.engines.plan import SlotPlan
from transcription.services import slots
from whisperhub import env
from whisperhub.edges import Edge, guarded
from workers.devices import environment_for, plan_slots
from workers.inference import MODEL_UNAVAILABLE_STATUS, SLOT_TAKEN_STATUS
from workers.supervisor import Program, Supervisor, stop_on_signals

logger = logging.getLogger(__name__)

# A worker that is told to stop finishes the jobs it has; so long it may take.
PATIENCE_SECONDS = 30.0


def planned_slots() -> list[SlotPlan]:
    """The slots that WHISPERHUB_SLOTS, or the file it names, asks for now.

    Raises:
        ValueError: it is malformed.
    """
    return plan_slots(env.text("SLOTS"), default_engine=settings.ENGINE)


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
        # To try again would change nothing: the plan or the machine must change. A name
        # that is taken may be free later: its holder may be the worker of a launcher
        # that was killed, finishing its jobs.
        final_statuses=frozenset({MODEL_UNAVAILABLE_STATUS}),
    )


class Launcher:
    """The slots of one machine; `run` stays until SIGTERM or Ctrl-C.

    Args:
        plan: the slots to begin with.
        read_plan: gives the plan again, after SIGHUP.
    """

    def __init__(
        self,
        plan: Sequence[SlotPlan],
        *,
        read_plan: Callable[[], Sequence[SlotPlan]] = planned_slots,
    ) -> None:
        """Plan to run these slots."""
        self._read_plan = read_plan
        self._plan = {slot.name: slot for slot in plan}
        # Slots whose old process must end before the new one starts.
        self._replacements: dict[str, SlotPlan] = {}
        self._supervisor = Supervisor(
            [[program_for(slot) for slot in plan]],
            verbose=True,
            on_exit=self._after_exit,
        )

    def run(self) -> None:
        """Run the slots until told to stop."""
        with stop_on_signals(self._supervisor):
            # In place of the supervisor's own handler, which would stop everything.
            signal.signal(signal.SIGHUP, lambda *_: self.reload())
            self._supervisor.run()

    def reload(self) -> None:
        """Read the plan again: start, stop and replace what differs.

        A slot that has given up is started again, changed or not.
        """
        wanted = self._wanted()
        if wanted is None:
            return
        running = self._supervisor.pids()
        for name, former in self._plan.items():
            if wanted.get(name) == former and name in running:
                continue
            if name in wanted and name in running:
                self._replacements[name] = wanted[name]
            self._supervisor.remove(name)
            if name in wanted and name not in running:
                self._supervisor.add(program_for(wanted[name]))
        for name, slot in wanted.items():
            if name not in self._plan:
                self._supervisor.add(program_for(slot))
        self._plan = wanted
        logger.info("The plan: %s", ", ".join(map(str, wanted.values())) or "no slots")

    def _wanted(self) -> dict[str, SlotPlan] | None:
        """The slots of the plan as it reads now; None: it cannot be read."""
        # A signal interrupts the supervisor's loop, which must go on.
        with guarded(Edge.SUPERVISOR, "at reading the plan again"):
            try:
                return {slot.name: slot for slot in self._read_plan()}
            except ValueError as error:
                logger.error("The plan stays as it was: WHISPERHUB_SLOTS: %s", error)
        return None

    def _after_exit(self, name: str, pid: int, code: int) -> None:
        """Free a dead slot's jobs at once; start what takes its place."""
        node = slots.slot_name(name)
        # What has this name still may well be at work.
        if code not in (0, SLOT_TAKEN_STATUS):
            # What is not taken back here is, when its lease has run out.
            with guarded(Edge.EXIT_HANDLER, "at releasing jobs", about=name):
                persistently(lambda: slots.release_jobs(f"{node}/"), seconds=5)
        if slot := self._replacements.pop(name, None):
            self._supervisor.add(program_for(slot))

"""What a worker did with a hint."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from transcription.services.transitions.changes import Outcome


@dataclass(frozen=True)
class HintOutcome:
    """What a worker did with a hint: which task it was for is known only then.

    Attributes:
        public_id: the task's.
    """

    public_id: uuid.UUID
    outcome: Outcome

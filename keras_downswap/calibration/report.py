"""What a calibration did, in words and as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any

from keras_downswap.calibration.closed_form.layerwise import LayerFit
from keras_downswap.calibration.evaluation.agreement import Agreement


@dataclass(frozen=True)
class StageReport:
    """One rung of the ladder.

    Attributes:
        name: `statistics`, `least_squares` or `distill`.
        agreement: How well the models agreed on held-out samples when it was done; None where it
            was not run.
        kept: Whether its result was kept.
        seconds: How long it took.
        note: Why it was not run or not kept, or what else there is to know.
    """

    name: str
    agreement: Agreement | None
    kept: bool
    seconds: float
    note: str = ""


@dataclass
class CalibrationReport:
    """The account of one calibration.

    Attributes:
        method: What was asked for.
        samples: Samples fitted to; None for a stream whose end was not seen.
        held_out: Samples that judged.
        before: Agreement on the held-out samples before.
        after: Likewise of the state that the new model was left in.
        stages: What was tried, in order.
        layers: What became of each layer that a closed form fitted.
        notes: Further facts that a user must know.
        interrupted: Whether Ctrl-C ended it; the best state until then is kept.
        seconds: How long it took.
    """

    method: str
    samples: int | None
    held_out: int
    before: Agreement
    after: Agreement
    stages: list[StageReport] = field(default_factory=list)
    layers: list[LayerFit] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    interrupted: bool = False
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain lists, dicts, strings, numbers and None, for what is not finite too."""
        return {key: plain(value) for key, value in asdict(self).items()}

    def to_json(self) -> str:
        """Return the report as indented JSON."""
        return json.dumps(self.to_dict(), indent=2)

    def __str__(self) -> str:
        """Return the report in words, a line a stage."""
        count = "a stream of" if self.samples is None else str(self.samples)
        lines = [
            f"calibrated on {count} samples without labels, judged by {self.held_out} held out:"
        ]
        lines.append(f"  before: {self.before}")
        for stage in self.stages:
            found = "not run" if stage.agreement is None else str(stage.agreement)
            told = "" if stage.kept else " (not kept)" if stage.agreement is not None else ""
            note = f": {stage.note}" if stage.note else ""
            lines.append(f"  {stage.name}: {found}{told}{note}")
        lines.append(f"  after: {self.after}")
        for fit in self.layers:
            what = "site" if fit.site else "layer"
            note = f" ({fit.note})" if fit.note else ""
            lines.append(
                f"  {what} {fit.layer}: squared error {fit.start:.3f} -> {fit.error:.3f}{note}"
            )
        lines += [f"note: {note}" for note in self.notes]
        if self.interrupted:
            lines.append("interrupted: the best state until then is kept")
        return "\n".join(lines)


def plain(value: Any) -> Any:
    """Return a value with None in the place of numbers that JSON has not."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

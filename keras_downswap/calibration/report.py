"""What a calibration did, in words and as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

from keras_downswap.calibration.closed_form.layerwise import LayerFit
from keras_downswap.calibration.evaluation.agreement import Agreement


@dataclass(frozen=True)
class StageReport:
    """What became of one stage.

    Attributes:
        name: The name of the stage, as `method` has it.
        agreement: How well the models agreed on held-out samples after it; None where it was not
            run.
        kept: Whether its result was kept.
        seconds: How long it took.
        note: Why it was not run or not kept, or what else there is to know.
    """

    name: str
    agreement: Agreement | None
    kept: bool
    seconds: float
    note: str = ""

    def __str__(self) -> str:
        """Return the stage in words, on one line."""
        found = "not run" if self.agreement is None else str(self.agreement)
        discarded = self.agreement is not None and not self.kept
        verdict = " (not kept)" if discarded else ""
        note = f": {self.note}" if self.note else ""
        return f"{self.name}: {found}{verdict}{note}"


@dataclass(frozen=True, repr=False)
class CalibrationReport:
    """The account of one calibration.

    Attributes:
        method: The `method` that was asked for.
        samples: Samples fitted to; None for a stream whose end was not seen.
        held_out: Samples held out, by which was chosen what to keep.
        before: Agreement on the held-out samples before.
        after: Agreement on them in the state that the new model was left in.
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
    stages: tuple[StageReport, ...]
    layers: tuple[LayerFit, ...]
    notes: tuple[str, ...]
    interrupted: bool
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain lists, dicts, strings, numbers and None."""
        return {key: plain(value) for key, value in asdict(self).items()}

    def to_json(self) -> str:
        """Return the report as indented JSON."""
        return json.dumps(self.to_dict(), indent=2)

    def __repr__(self) -> str:
        """Return the report in one line."""
        kept = [stage.name for stage in self.stages if stage.kept]
        stages = " + ".join(kept) or "nothing"
        return f"<CalibrationReport method={self.method!r}: {stages} kept, after: {self.after}>"

    def __str__(self) -> str:
        """Return the report in words, one line for each stage and each fitted layer."""
        count = "a stream of" if self.samples is None else str(self.samples)
        lines = [
            f"calibrated on {count} samples without labels, evaluated on {self.held_out} held out:",
            f"  before: {self.before}",
        ]
        lines += [f"  {stage}" for stage in self.stages]
        lines.append(f"  after: {self.after}")
        lines += [f"  {_layer_line(fit)}" for fit in self.layers]
        lines += [f"note: {note}" for note in self.notes]
        if self.interrupted:
            lines.append("interrupted: the best state until then is kept")
        return "\n".join(lines)


def _layer_line(fit: LayerFit) -> str:
    kind = "site" if fit.site else "layer"
    note = f" ({fit.note})" if fit.note else ""
    return f"{kind} {fit.layer}: squared error {fit.start:.3f} -> {fit.error:.3f}{note}"


def plain(value: Any) -> Any:
    """Return a value of lists, dicts and numbers as JSON can hold it.

    JSON has neither NaN nor infinity: None stands for them. Tuples become lists.
    """
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value

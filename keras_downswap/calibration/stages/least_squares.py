"""One closed-form fit for each layer from the first site on, in the order in which they run."""

from __future__ import annotations

from keras_downswap.calibration.closed_form.kernel_fit import KernelFit
from keras_downswap.calibration.closed_form.layerwise import LayerFitter
from keras_downswap.calibration.closed_form.pool_scale_fit import PoolScaleFit
from keras_downswap.calibration.stage import Stage, StageContext, StageResult, StageSkipped


def run(context: StageContext) -> StageResult:
    """Fit the kernels, and the scales before pools of another kind."""
    fitters: list[LayerFitter] = []
    for target in context.trainable.targets:
        fitters.append(KernelFit(context.new, target))
    for pool in context.trainable.pools:
        fitters.append(PoolScaleFit(context.new, pool))
    if not fitters:
        raise StageSkipped("no site can be fitted in closed form")
    # In one run over the new model: what an earlier layer gets wrong reaches the rows of the next,
    # which makes up for it where it can.
    batches = context.closed_form_batches()
    layers = context.fit_layers("least squares", fitters, batches)
    samples = sum(len(batch[0]) for batch in batches)
    return StageResult(f"{samples} samples", tuple(layers))


STAGE = Stage(name="least_squares", order=20, run=run, closed_form=True)

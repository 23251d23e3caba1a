"""The statistics of BatchNormalization after a swap, measured anew from one layer to the next.

A site without BatchNormalization gets a scale and an offset for each channel instead, and so does a
pool of another kind.
"""

from __future__ import annotations

from keras_downswap.calibration.closed_form.batch_norm import BatchNormReestimation
from keras_downswap.calibration.closed_form.kernel_fit import KernelFit
from keras_downswap.calibration.closed_form.layerwise import LayerFitter
from keras_downswap.calibration.closed_form.pool_scale_fit import PoolScaleFit
from keras_downswap.calibration.stage import Stage, StageContext, StageResult, StageSkipped


def run(context: StageContext) -> StageResult:
    """Measure the statistics of the new model's BatchNormalization layers."""
    trainable = context.trainable
    fitters: list[LayerFitter] = []
    for ref, name, call in trainable.batch_norms():
        fitters.append(BatchNormReestimation(context.new, ref, name, call))
    # Its BatchNormalization absorbs a scale and an offset, so only a site without one needs them.
    for target in trainable.sites:
        if target.live_kernel(context.new).batch_norm is None:
            fitters.append(KernelFit(context.new, target, scale_only=True))
    for pool in trainable.pools:
        fitters.append(PoolScaleFit(context.new, pool))
    if not fitters:
        raise StageSkipped(
            "there is neither a BatchNormalization after a site nor a site with a bias to shift"
        )
    context.fit_layers("statistics", fitters, context.closed_form_batches())
    return StageResult()


STAGE = Stage(name="statistics", order=10, run=run, closed_form=True)

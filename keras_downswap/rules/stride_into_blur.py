"""A strided convolution is anti-aliased: its output is low-pass filtered before it is subsampled.

    conv_s(x)  ~  sum_t b[t] * f(conv_1(x))[j*s + t],    b binomial, 2s - 1 taps

after the elementwise maps f that follow it, in a frozen depthwise convolution of stride s: Zhang
2019. For every padding the strided law is the stride-1 law followed by n -> (n + s - 1) // s, which
is a `same` window of stride s.
"""

from dataclasses import replace

from keras_downswap.ir.graph import Call, Graph, channels
from keras_downswap.ir.kernel_math import binomial
from keras_downswap.rulekit import Promise, Replacement, is_strided_conv, refuses, rule, swaps
from keras_downswap.rulekit.examples import MAP, VIDEO, conv_lstm, relu, strided_conv
from keras_downswap.rulekit.fixed_kernels import FixedKernel, depth_of, fixed_depthwise
from keras_downswap.rulekit.layers import conv_with_own_padding
from keras_downswap.rulekit.matching import pointwise_run
from keras_downswap.rulekit.preconditions import require_conv
from keras_downswap.rulekit.replacements import replace_and_append
from keras_downswap.rulekit.rule import require
from keras_downswap.rulekit.windows import blur_windows, padded_alike, unstrided


@rule(targets=["blur_pool"], promise=Promise.APPROXIMATE, anchors=is_strided_conv, verbatim=True)
@swaps(MAP, strided_conv(), relu())
@refuses(VIDEO, conv_lstm(strides=2), reason="is no ordinary")
def stride_into_blur(graph: Graph, conv: Call) -> Replacement:
    """Strided convolution -> convolution, fixed blur with the stride, same kernel."""
    require_conv(conv)
    # Or a second swap of the same model would blur the blurs.
    require(not conv.conv.is_binomial_blur, f"{conv.label} is a fixed blur already")
    run = pointwise_run(graph, conv)
    dense = conv_with_own_padding(conv, unstrided(conv.windows))
    windows = padded_alike(blur_windows(conv), "same")
    # The blur has a filter for each channel that the convolution computes, not that it reads.
    computed = channels(graph.output_shape(conv), conv.channels_last)
    depth = depth_of(graph, conv) if computed is None else computed
    kernel = FixedKernel(f"{conv.name}_blur", windows, binomial)
    blur = fixed_depthwise(conv, kernel, depth)
    # Its input is what the last elementwise map computes, maybe in another dtype.
    blur = replace(blur, beside=run[-1].layer)
    return replace_and_append(run, dense, blur)

"""A strided convolution is anti-aliased: its output is low-pass filtered before it is subsampled.

    conv_s(x)  ~  sum_t b[t] * f(conv_1(x))[j*s + t],    b binomial, 2s - 1 taps

after the elementwise maps f that follow it, in a frozen depthwise convolution of stride s: Zhang
2019. For every padding the strided law is the stride-1 law followed by n -> (n + s - 1) // s, which
is a `same` window of stride s.
"""

from keras_downswap.ir.graph import channels
from keras_downswap.ir.kernel_math import binomial
from keras_downswap.ir.replacement import Step
from keras_downswap.rulekit import (
    KEEP,
    Call,
    Graph,
    Promise,
    Replacement,
    Window,
    is_strided_conv,
    require,
    rule,
)
from keras_downswap.rulekit.examples import MAP, conv, conv_lstm, refuses, relu, swaps
from keras_downswap.rulekit.fixed_kernels import depth_of, fixed_depthwise
from keras_downswap.rulekit.layers import conv_with_own_padding
from keras_downswap.rulekit.matching import pointwise_run
from keras_downswap.rulekit.preconditions import require_conv
from keras_downswap.rulekit.windows import unstrided


@rule(
    targets=["blur_pool"],
    promise=Promise.APPROXIMATE,
    anchors=is_strided_conv,
    verbatim=True,
)
@swaps(MAP, conv(strides=2), relu())
@refuses((3, 16, 16, 4), conv_lstm(strides=2), reason="is no ordinary")
def stride_into_blur(graph: Graph, conv: Call) -> Replacement:
    """Strided convolution -> convolution, fixed blur with the stride, same kernel."""
    require_conv(conv)
    require(not conv.conv.is_binomial_blur, f"{conv.label} is a fixed blur already")
    run = pointwise_run(graph, conv)
    last = run[-1]
    dense = conv_with_own_padding(conv, unstrided(conv.windows))
    windows = [Window(2 * w.stride - 1, w.stride, 1, "same") for w in conv.windows]
    made = channels(graph.output_shape(conv), conv.channels_last)
    depth = depth_of(graph, conv) if made is None else made
    name = f"{conv.name}_blur"
    blur = fixed_depthwise(conv, name, windows, binomial, depth=depth, beside=last)
    steps: dict[int, tuple[Step, ...]] = {conv.index: dense, last.index: (KEEP, blur)}
    if last is conv:
        steps = {conv.index: (*dense, blur)}
    return Replacement(tuple(call.index for call in run), steps)

"""A strided convolution is anti-aliased: its output is low-pass filtered before it is subsampled.

    conv_s(x)  ~  sum_t b[t] * f(conv_1(x))[j*s + t],    b binomial, 2s - 1 taps

behind the elementwise maps f that follow it, in a frozen depthwise convolution of stride s: Zhang
2019. For every padding the strided law is the stride-1 law followed by n -> (n + s - 1) // s, which
is a `same` window of stride s.
"""

from keras_downswap.ir.geometry import Window
from keras_downswap.ir.graph import Call, Graph, channels
from keras_downswap.ir.kernel_math import binomial
from keras_downswap.ir.predicates import is_strided_conv
from keras_downswap.ir.replacement import KEEP, Replacement, Step
from keras_downswap.rulekit.fixed_kernels import fixed_depthwise
from keras_downswap.rulekit.layers import conv_layer
from keras_downswap.rulekit.matching import pointwise_run
from keras_downswap.rulekit.preconditions import require_conv
from keras_downswap.rulekit.rule import Promise, Rule, require


def stride_into_blur(graph: Graph, conv: Call, to: str) -> Replacement:
    """Swap a strided convolution for a stride-1 convolution, its elementwise followers, and a fixed blur."""
    require_conv(conv)
    require(not conv.settings.get("blurs"), f"{conv.label} is a fixed blur already")
    run = pointwise_run(graph, conv)
    last = run[-1]
    slow = [Window(w.size, 1, w.dilation, w.padding) for w in conv.windows]
    new = conv_layer(conv, slow, conv.windows[0].padding)
    blurs = [Window(2 * w.stride - 1, w.stride, 1, "same") for w in conv.windows]
    depth = channels(graph.output_shape(conv), conv.channels_last)
    blur = fixed_depthwise(
        graph, conv, f"{conv.name}_blur", blurs, binomial, depth=depth, beside=last
    )
    steps: dict[int, tuple[Step, ...]] = {conv.index: (new,), last.index: (KEEP, blur)}
    if last is conv:
        steps = {conv.index: (new, blur)}
    return Replacement(tuple(call.index for call in run), steps)


RULE = Rule(
    name="stride_into_blur",
    targets=frozenset({"blur_pool"}),
    promise=Promise.APPROXIMATE,
    verbatim=True,
    anchors=is_strided_conv,
    apply=stride_into_blur,
    summary="strided convolution -> convolution, fixed blur with the stride, same kernel",
)

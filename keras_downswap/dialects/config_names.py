"""Names that mean something special in the configuration of a saved model, of either Keras."""

from __future__ import annotations

CODE_RUNNERS = (
    "Lambda", "__lambda__", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer",
    "TensorFlowOpLayer", "PyMetric", "ModuleWrapper", "ClassMethod", "InstanceMethod",
    "InstanceProperty", "Function", "Cond", "Switch", "Map", "Scan", "VectorizedMap",
    "AssociativeScan", "ForiLoop", "WhileLoop",
)  # fmt: skip
"""Classes of Keras' own that run code which the file brings along, or call what it names."""

VALUE_TAGS = (
    "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__", "__keras_tensor__",
    "__tuple__", "TensorShape",
)  # fmt: skip
"""Class names under which a plain value is written; no class is looked up for them."""

TYPE_SPEC = "TypeSpec"
TENSOR_SPECS = ("tf.TensorSpec", "tf.RaggedTensorSpec", "tf.SparseTensorSpec")
"""The type specs that a `TypeSpec` may name: plain descriptions of tensors."""

FUNCTION_CALL_LAYERS = ("TFOpLambda", "SlicingOpLambda")
"""Layers of Keras 2 that call a TensorFlow function by the name that the configuration gives."""

FILE_KEYS = ("vocabulary", "vocabulary_file", "filepath", "file_path")
"""Settings from which a layer reads a file, where they are a text."""

LOOKUP_LAYERS = ("StringLookup", "IntegerLookup", "TextVectorization")
"""Layers whose table a SavedModel keeps as an asset of its graph, not in the configuration."""

_FUNCTIONS = {
    "__operators__.": "add getitem",
    "math.": "abs add add_n argmax argmin ceil cos cumsum divide divide_no_nan equal exp floor "
    "floordiv floormod greater greater_equal l2_normalize less less_equal log log1p maximum "
    "minimum multiply negative not_equal pow reciprocal reduce_logsumexp reduce_max reduce_mean "
    "reduce_min reduce_prod reduce_std reduce_sum reduce_variance round rsqrt sigmoid sign sin "
    "softplus sqrt square squared_difference subtract tanh truediv",
    "nn.": "avg_pool avg_pool1d avg_pool2d avg_pool3d bias_add conv1d conv2d conv3d "
    "depth_to_space depthwise_conv2d elu gelu leaky_relu log_softmax max_pool max_pool1d "
    "max_pool2d max_pool3d pool relu relu6 selu silu softmax softsign space_to_depth "
    "local_response_normalization",
    "image.": "flip_left_right flip_up_down resize resize_bilinear resize_nearest_neighbor "
    "rgb_to_grayscale",
    "": "broadcast_to cast clip_by_value concat convert_to_tensor einsum expand_dims floor_div "
    "gather identity linalg.matmul one_hot ones_like pad repeat reshape reverse roll shape slice "
    "split squeeze stack stop_gradient strided_slice tensordot tile transpose unstack where "
    "zeros_like",
}


def _tensor_functions() -> frozenset[str]:
    """Return the full names of the TensorFlow functions that only compute on tensors."""
    found: set[str] = set()
    for module, names in _FUNCTIONS.items():
        for name in names.split():
            found.add(module + name)
            found.add(f"compat.v1.{module}{name}")
    return frozenset(found)


TENSOR_FUNCTIONS = _tensor_functions()
"""What a configuration may have called: no file, no network, no Python function among them."""

"""A model as a rule sees it: calls, tensors, windows, kernels. No framework, no refusals."""

"""A model as a rule sees it: calls, tensors, windows and kernels. No framework, and nothing that refuses."""

"""Running the two models call by call, and reading and writing live layers."""

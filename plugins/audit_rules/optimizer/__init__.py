"""The optimizer state is that of this step and this model, neither reset nor NaN."""

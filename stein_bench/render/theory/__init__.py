"""The simulations of the paper's theorems as tables and figures."""

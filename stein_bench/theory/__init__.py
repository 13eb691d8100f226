"""The paper's theorems, checked by simulation: the risk of the estimates, and the Lipschitz constants of the layers."""

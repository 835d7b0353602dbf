"""How good a model is: measures, the comparison with L-BFGS, the report."""

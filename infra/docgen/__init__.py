"""Documents generated from the declarations, so that they cannot say anything else than the code."""

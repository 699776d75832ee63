"""`headrace doctor`: checks of a deployment, with findings, consequences and remedies."""

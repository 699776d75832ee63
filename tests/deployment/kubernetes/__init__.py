"""A deployment on a real Kubernetes: rolled out from its overlay, used, and rolled over under load."""

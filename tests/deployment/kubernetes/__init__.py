"""Tests of a deployment on a Kubernetes cluster: rolled out from an overlay, used, and updated under load."""

"""Executors, which run the steps of a job: in a shell on this machine, in Docker containers or in a Kubernetes pod."""

"""GitLab's runner protocol: registration, job requests, logs, artifacts."""

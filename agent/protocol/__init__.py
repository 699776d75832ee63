"""GitLab's runner protocol from the runner's side."""

"""The runner's side of GitLab's runner protocol."""

"""The build agent: requests jobs by GitLab's runner protocol and runs their steps."""

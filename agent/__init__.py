"""The build runner: speaks the GitLab runner protocol and runs the steps."""

"""Pipelines: the spec files of GitLab and GitFlic, compiled to the jobs of a build: text in, jobs and warnings out."""

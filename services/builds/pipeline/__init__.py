"""Compiler for the pipeline files of GitLab and GitFlic: text in, jobs and warnings out."""

"""Keywords of a job."""

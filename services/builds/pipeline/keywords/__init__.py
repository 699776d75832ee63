"""The keywords of a job."""

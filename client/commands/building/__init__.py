"""Commands for builds: their jobs, logs and artifacts, and the queue."""

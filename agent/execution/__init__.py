"""The execution of one job: workspace, log, steps, report."""

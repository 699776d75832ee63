"""Job dispatch: scheduling, assignment to runners, and everything a runner receives with a job."""

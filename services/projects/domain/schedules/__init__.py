"""The schedule aggregate, and the times of cron expressions."""

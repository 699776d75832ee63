"""What a process tells about itself: logs, traces, metrics, health."""

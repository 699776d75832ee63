"""A job from its start to its end: leases, reports, results, retention."""

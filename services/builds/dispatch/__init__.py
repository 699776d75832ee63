"""Assignment of queued jobs to runners."""

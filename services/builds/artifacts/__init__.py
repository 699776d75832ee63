"""Job artifacts: uploads, downloads, expiry, and storage of their bytes."""

"""Command line, embedded stack, backup, doctor, document generators and deployment manifests."""

"""Planning of builds: launch, git mirrors and spec files."""

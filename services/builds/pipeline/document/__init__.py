"""Pipeline files as documents: YAML, includes, references, merging."""

"""Reading YAML documents: includes, references, merging."""

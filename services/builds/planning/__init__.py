"""From a launch to the jobs of a build: repository mirrors, the spec file, the pipeline."""

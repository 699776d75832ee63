"""The executor that runs each job in a pod of its own."""

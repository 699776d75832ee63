"""The doctor: looks at a deployment from the outside and says in words what is wrong with it and what to do."""

"""`headrace admin doctor`: checks of a deployment. Each finding names the problem, its consequence and its remedy."""

"""Software bills of materials. `make sbom` writes them."""

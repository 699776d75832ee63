"""`python -m infra.docgen`: write or check the generated documents."""

import sys

from infra.docgen.generator import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

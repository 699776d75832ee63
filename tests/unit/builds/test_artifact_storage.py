"""The S3 library is loaded only if a bucket is configured."""

import subprocess
import sys


def test_the_s3_library_is_not_loaded_without_a_bucket() -> None:
    program = "import sys, services.builds.app; print('obstore' in sys.modules)"
    loaded = subprocess.run((sys.executable, "-c", program), capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "False"

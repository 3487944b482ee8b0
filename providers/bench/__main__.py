"""``python -m providers.bench [--quick]`` prints the benchmark's JSON document."""

import json
import sys

from providers.bench import run

if __name__ == "__main__":
    sys.stdout.write(json.dumps(run("--quick" in sys.argv), indent=2) + "\n")

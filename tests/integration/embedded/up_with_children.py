"""A stand-in for ``pushpath up`` with trivial children, started as a process by the supervisor's tests.

up_with_children.py DATA [--fresh] [--exit] [--demo CODE] [--broken] [--deaf] [--slow-compose]
"""

import argparse
import json
import sys
import time
from pathlib import Path

from dispatcher.embedded.children import ChildSpec
from dispatcher.embedded.probes import all_of, answers_http, listens
from dispatcher.embedded.up import UpContext, UpOptions, UpPlan, run_up

_DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: time.sleep(1)"
_PARENT = "import subprocess, time; print(subprocess.Popen(['sleep', '600']).pid, flush=True); time.sleep(600)"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--demo", type=int)
    for flag in ("--fresh", "--exit", "--broken", "--deaf", "--slow-compose"):
        parser.add_argument(flag, action="store_true")
    flags = parser.parse_args()

    def compose(context: UpContext) -> UpPlan:
        if flags.slow_compose:
            time.sleep(60)
        port = context.ports.pick(8080)
        serve = (sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1")
        ready = all_of(listens(port), answers_http(port, "/"))
        children = [
            ChildSpec(name="api", argv=serve, cwd=context.data_dir / "logs", ready=ready),
            ChildSpec(name="worker", argv=(sys.executable, "-c", _PARENT), stop_order=10),
        ]
        if flags.broken:
            children.append(
                ChildSpec(name="broken", argv=("/bin/sh", "-c", "echo no luck; exit 7"), ready=lambda: False)
            )
        if flags.deaf:
            children.append(ChildSpec(name="deaf", argv=(sys.executable, "-c", _DEAF), stop_order=5))
        return UpPlan(
            children=children,
            document={"api_url": f"http://127.0.0.1:{port}", "console_url": None},
            all_pids=("api", "worker", "console", "hot_store", "ledger"),
            demo=None if flags.demo is None else ("/bin/sh", "-c", f"echo demo; exit {flags.demo}"),
            announce=lambda document: print(json.dumps(document), flush=True),  # noqa: T201 - read by the test
        )

    options = UpOptions(
        data_dir=flags.data, fresh=flags.fresh, auto_ports=True, exit_after_demo=flags.exit, durable=False
    )
    return run_up(options, compose)


if __name__ == "__main__":
    sys.exit(main())

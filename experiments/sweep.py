"""`lineup sweep`: the runs of a grid, then one table and one contact sheet.

It is `lineup train --multirun` with our launcher: `sweep=NAME` takes a grid from conf/sweep, and
`key=a,b` on the command line makes one. Started again, finished runs answer from their manifests.
"""

import sys
from pathlib import Path
from typing import Any

from callbacks.files import write_json_atomically


def main() -> None:
    """Runs the grid given on the command line."""
    from experiments import build, train

    build.register()
    if "--multirun" not in sys.argv and "-m" not in sys.argv:
        sys.argv.insert(1, "--multirun")
    train.main()


def report(sweep_dir: Path, jobs: list[dict[str, Any]]) -> None:
    """Writes jobs.json, table.md, table.csv and detections.png, and prints the table."""
    from experiments import table

    sweep_dir.mkdir(parents=True, exist_ok=True)
    write_json_atomically(sweep_dir / "jobs.json", jobs)
    finished = [Path(job["run_dir"]) for job in jobs if job["exit_code"] == 0]
    failed = {Path(job["run_dir"]).name: job["error"] for job in jobs if job["exit_code"] != 0}
    rows = table.rows_of(finished)
    table.write(rows, sweep_dir, failed)
    sheet = table.contact_sheet(finished, sweep_dir)
    table.show(rows, failed)
    print(f"{sweep_dir}/table.md, table.csv" + (f", {sheet.name}" if sheet else ""))


if __name__ == "__main__":
    main()

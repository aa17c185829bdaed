"""Runs the jobs of a sweep as processes of their own, a device or a share of the cores each.

Hydra's own launchers run jobs in one process (state leaks; a DDP job would start the sweep again).
This one runs `lineup train OVERRIDES` per job, records a failure and goes on.
"""

import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from detectors.errors import RunError
from experiments import runs

OF_A_PARENT = (
    "LOCAL_RANK",
    "NODE_RANK",
    "RANK",
    "GROUP_RANK",
    "WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
)


@dataclass
class Job:
    """One run of a sweep: what was asked, where it went, how it ended."""

    overrides: list[str]
    run_dir: str
    exit_code: int | None = None
    seconds: float = 0.0
    error: str = ""


class ProcessLauncher(Launcher):
    """Starts up to `jobs` processes at a time with `threads` CPU threads each.

    `leave_out`: a job whose configuration has all values of one of these ({dotted.key: value}) is
    no part of the grid. What amounts to the same run is one job.
    """

    # what Hydra asks of a plugin; build.register puts it there
    __module__ = "hydra_plugins.lineup"

    def __init__(
        self,
        jobs: int | None = None,
        threads: int | None = None,
        leave_out: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self.jobs = jobs
        self.threads = threads
        self.leave_out = leave_out

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Called by Hydra before `launch`."""
        self.config, self.hydra_context = config, hydra_context

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> list[JobReturn]:
        """Runs all jobs, writes the sweep's table, and returns one result per job."""
        from experiments.sweep import report

        setup_globals()
        gpus = visible_gpus()
        slots = self.jobs or len(gpus) or len(os.sched_getaffinity(0))
        threads = self.threads or max(1, len(os.sched_getaffinity(0)) // slots)
        jobs = self._jobs(job_overrides)
        self._run_all(jobs, slots, gpus, threads)
        report(Path(self.config.hydra.sweep.dir), [asdict(job) for job in jobs])
        return [_job_return(job, self.config) for job in jobs]

    def _jobs(self, job_overrides: Sequence[Sequence[str]]) -> list[Job]:
        jobs: dict[str, Job] = {}
        for overrides in map(list, job_overrides):
            config = self.hydra_context.config_loader.load_sweep_config(self.config, overrides)
            if not any(has_values(config, values) for values in self.leave_out):
                run_dir = str(config.paths.run_dir)
                jobs.setdefault(run_dir, Job(overrides, run_dir))
        return list(jobs.values())

    def _run_all(self, jobs: list[Job], slots: int, gpus: list[str], threads: int) -> None:
        free: queue.Queue[str] = queue.Queue()
        for slot in range(slots):
            free.put(gpus[slot % len(gpus)] if gpus else "")
        running: set[subprocess.Popen[bytes]] = set()
        print(f"{len(jobs)} runs, {slots} at a time, {threads} CPU threads each", flush=True)

        def run(numbered: tuple[int, Job]) -> None:
            number, job = numbered
            device = free.get()
            try:
                _run(job, _environment(device, threads), running)
            finally:
                free.put(device)
            print(f"[{number}/{len(jobs)}] {_outcome(job)}", flush=True)

        with _ended_with_us(running), ThreadPoolExecutor(slots) as pool:
            list(pool.map(run, enumerate(jobs, start=1)))


def has_values(config: DictConfig, values: Mapping[str, Any]) -> bool:
    """Whether a configuration has each of the values at its dotted key."""
    return all(OmegaConf.select(config, key) == value for key, value in values.items())


def visible_gpus() -> list[str]:
    """The CUDA devices this process may use, without importing torch."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [device for device in named.split(",") if device.strip()]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return []
    gpus = [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]
    return [str(index) for index in range(len(gpus))]


@contextmanager
def _ended_with_us(running: set[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Ctrl-C and a polite kill of the sweep end its jobs too; started again, they go on."""

    def stop(number: int, frame: object) -> None:
        for process in list(running):
            process.terminate()
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run(job: Job, environment: dict[str, str], running: set[subprocess.Popen[bytes]]) -> None:
    """One job to its end; its output goes to `log.txt` in the run's folder."""
    run_dir = Path(job.run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "experiments.cli", "train", *job.overrides]
    start = time.perf_counter()
    with (run_dir / "log.txt").open("a+") as log:
        begin = log.seek(0, os.SEEK_END)
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        running.add(process)
        job.exit_code = process.wait()
        running.discard(process)
        log.seek(begin)
        lines = log.read().strip().splitlines()
    job.seconds = time.perf_counter() - start
    if job.exit_code:
        job.error = lines[-1] if lines else f"ended by signal {-job.exit_code}"


def _environment(device: str, threads: int) -> dict[str, str]:
    environment = {k: v for k, v in os.environ.items() if k not in OF_A_PARENT}
    environment |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    return environment | {"CUDA_VISIBLE_DEVICES": device} if device else environment


def _outcome(job: Job) -> str:
    how = f"FAILED: {job.error} (see {job.run_dir}/log.txt)" if job.exit_code else "done"
    return f"{Path(job.run_dir).name}  {job.seconds:.0f} s  {how}"


def _job_return(job: Job, config: DictConfig) -> JobReturn:
    result = JobReturn(overrides=job.overrides, working_dir=job.run_dir, cfg=config)
    if job.exit_code:
        result.status = JobStatus.FAILED
        result.return_value = RunError(f"run {Path(job.run_dir).name} failed: {job.error}")
    else:
        result.status = JobStatus.COMPLETED
        result.return_value = _score(Path(job.run_dir), config)
    return result


def _score(run_dir: Path, config: DictConfig) -> Any:
    manifest = runs.read_manifest(run_dir) or {}
    split, _, metric = config.protocol.monitor.partition("/")
    return manifest.get("metrics", {}).get(split, {}).get(metric)

"""Where results come from: the machine, the versions, the commit, and the files that keep all this.

`facts` looks at the machine; `Runs` is the folder of write-once JSON files inside a store: the
spec of its sweep, and for each run what it began with, what the engine said of itself, and how it
ended.
"""

import functools
import getpass
import hashlib
import json
import os
import platform
import re
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TypeAlias

from tsframe.origins import Origin, origin
from tsframe.places import create, Place

__all__ = ["Runs", "code", "facts", "require", "stamp"]

PACKAGES = ("tsframe", "torch", "numpy", "scipy", "xarray", "zarr", "joblib")
SAID = ("device", "precision", "products", "mode", "torch")  # by the engine, and may change bits
TOGETHER = ("precision", "products")  # of which a call may take several
TRAINING = (  # the rooms that decide numbers; all else only asks for them and keeps them
    "checks kept streams spectra slopes inputs arrays balancing teachers corruptions samples "
    "augmentations theory students training tasks measures batch ahead solving together costs "
    "trial perceptron completion"
).split()

History: TypeAlias = Mapping[int, tuple[Mapping[str, Any], Mapping[str, Any]]]


@dataclass(frozen=True)
class Runs:
    """The folder ``runs`` of a store.

    Parameters
    ----------
    folder : Place
        Where the files are.
    """

    folder: Place

    def begin(self, facts: Mapping[str, Any]) -> int:
        """Claim the next run number by writing its facts; no two processes get the same."""
        run = max(self.numbers(), default=0) + 1
        while not self.note(str(run), facts):
            run += 1
        return run

    def note(self, name: str, facts: Mapping[str, Any], durable: bool = False) -> bool:
        """Write ``<name>.json`` whole and once; False if it was there already.

        Parameters
        ----------
        name : str
            What the file says.
        facts : mapping
            Its contents.
        durable : bool
            Whether to wait until they are on the disk, for what is done next rests on them.

        Returns
        -------
        bool
            Whether this call wrote it.
        """
        text = json.dumps(facts, indent=1, default=str) + "\n"
        return create(self.folder / f"{name}.json", text, durable)

    def read(self, name: str) -> dict[str, Any]:
        """Read ``<name>.json``; empty if it is missing or damaged.

        What a server refuses for the moment is not missing, and is raised.
        """
        try:
            found = json.loads((self.folder / f"{name}.json").read_text())
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def numbers(self) -> list[int]:
        """List the runs that began."""
        stems = (file.stem for file in self.folder.glob("*.json"))
        return sorted(int(stem) for stem in stems if stem.isdigit())

    def unclean(self) -> list[int]:
        """List the runs that began and did not end: killed, or at work this moment."""
        stems = {file.stem for file in self.folder.glob("*.json")}
        begun = sorted(int(stem) for stem in stems if stem.isdigit())
        return [run for run in begun if f"{run}.end" not in stems]

    def tell(self, run: int, engine: Mapping[str, Any], told: set[tuple[str, str]]) -> None:
        """Keep what the engine of a run says of itself, as often as it says something new.

        Parameters
        ----------
        run : int
            Its number.
        engine : mapping
            What is said.
        told : set
            What was said before; grows.
        """
        new = {(key, word) for key in SAID if key in engine for word in said(key, engine[key])}
        if not told or new - told:
            name = f"{run}.engine-{len(told)}" if told else f"{run}.engine"
            self.note(name, engine)
            told |= new or {("", "")}

    def engines(self) -> dict[int, dict[str, Any]]:
        """Give what the engine of each run said of itself; words that changed beside each other."""
        names: dict[int, list[str]] = {}
        for stem in sorted(file.stem for file in self.folder.glob("*.engine*.json")):
            run, _, rest = stem.partition(".engine")
            if run.isdigit() and (not rest or rest[1:].isdigit()):
                names.setdefault(int(run), []).append(stem)
        return {run: joined([self.read(name) for name in names[run]]) for run in sorted(names)}

    def history(self) -> History:
        """Give what each run began with, and what its engine said of itself."""
        engines = self.engines()
        return {run: (self.read(str(run)), engines.get(run, {})) for run in self.numbers()}

    def origins(self, history: History | None = None) -> dict[int, Origin]:
        """Tell by what each run made its numbers; the history is read if it is not given."""
        known = self.history() if history is None else history
        return {run: origin(begun, engine) for run, (begun, engine) in known.items()}

    def summary(self, history: History | None = None) -> dict[str, Any]:
        """Sum up all runs in a few plain values, for the attributes of a Dataset."""
        known = self.history() if history is None else history
        begun = [facts for facts, _ in known.values()]
        engine = [facts for _, facts in known.values() if facts]
        commits = [
            run["git"]["commit"] + ("+" if run["git"]["dirty"] else "")
            for run in begun
            if run.get("git")
        ]
        versions = [run["versions"]["tsframe"] for run in begun if run.get("versions")]
        mixed = {  # what may differ from run to run and says how far numbers can be trusted
            key: "; ".join(dict.fromkeys(str(facts[key]) for facts in engine if key in facts))
            for key in SAID
            if any(key in facts for facts in engine)
        }
        return {
            "runs": len(begun),
            "hosts": sorted({str(run["host"]) for run in begun if "host" in run}),
            "commits": list(dict.fromkeys(commits)),
            "tsframe": sorted({str(version) for version in versions}),
            **next(iter(engine), {}),
            **mixed,
        }


def said(key: str, value: object) -> list[str]:
    """Split what a call took several of."""
    return str(value).split(", ") if key in TOGETHER else [str(value)]


def joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Join what an engine said at different times; what changes no bit is as it was first."""
    whole: dict[str, Any] = {}
    for part in parts:
        whole = {**part, **whole}
    for key in SAID:
        each = [said(key, part[key]) for part in parts if key in part]
        kinds = list(dict.fromkeys(word for some in each for word in some))
        if len(kinds) > 1:
            whole[key] = (", " if key in TOGETHER else "; ").join(kinds)
    return whole


def stamp() -> str:
    """Give the time as text, in UTC; nothing but display depends on it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def facts(file: Path | None) -> dict[str, Any]:
    """Describe this process, this machine and the commit of the file that defines the sweep."""
    return {
        "start": stamp(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "user": user(),
        "argv": sys.argv,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "code": code(),
        "platform": platform.platform(),
        "cpu": cpu(),
        "cpus": os.cpu_count(),
        "slurm": {key: value for key, value in os.environ.items() if key in SLURM},
        "threads_set": {key: value for key, value in os.environ.items() if key in THREADS},
        "file": str(file) if file else None,
        "git": git(file.parent if file else Path.cwd()),
    }


SLURM = ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_JOB_NODELIST")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "CUDA_VISIBLE_DEVICES")


@functools.cache
def code(package: Path = Path(__file__).parent) -> str:
    """Give a sha256 of the source that trains, to tell engines of one version apart.

    Parameters
    ----------
    package : Path
        Folder of the package; this one by default.
    """
    digest = hashlib.sha256()
    for room in sorted(TRAINING):
        for file in (package / f"{room}.py", *sorted((package / room).rglob("*.py"))):
            if file.is_file():
                digest.update(
                    b"%s\0%s\0" % (str(file.relative_to(package)).encode(), file.read_bytes())
                )
    return digest.hexdigest()


def user() -> str | None:
    """Give the login name, if this machine knows one."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return None


def version(package: str) -> str | None:
    """Give the version of a package, if it is installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def require(package: str, lowest: str, reason: str) -> None:
    """Refuse a version of a package that is known to lose data.

    Raises
    ------
    ImportError
        If the version that is installed is lower.
    """
    there = version(package)
    if there and numbers_of(there) < numbers_of(lowest):
        raise ImportError(
            f"tsframe needs {package} >= {lowest} ({reason}); here is {there}: "
            f"pip install --upgrade {package}"
        )


def numbers_of(text: str) -> tuple[int, ...]:
    """Give the leading numbers of a version.

    Examples
    --------
    >>> numbers_of("3.10.1rc2") > numbers_of("3.9")
    True
    """
    found = re.match(r"\d+(\.\d+)*", text)
    return tuple(int(part) for part in found.group().split(".")) if found else ()


def cpu() -> str:
    """Give the model name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def git(folder: Path) -> dict[str, Any] | None:
    """Give the commit of a working tree, and a sha256 of what was changed since."""

    def ask(*words: str) -> bytes:
        command = ["git", "-C", str(folder), *words]
        return subprocess.run(command, capture_output=True, check=True, timeout=20).stdout

    try:
        commit = ask("rev-parse", "HEAD").decode().strip()
        status = ask("status", "--porcelain")
        diff = ask("diff", "HEAD")
    except (OSError, subprocess.SubprocessError):
        return None
    digest = hashlib.sha256(diff).hexdigest() if diff else None
    return {"commit": commit, "dirty": bool(status), "diff_sha256": digest}

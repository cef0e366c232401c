"""Where a store stands: in a folder, or in a bucket of an object store.

What the two do in ways of their own is a function here: to write a file whole and once, to write
over it, to show that somebody lives, to move. All else they do alike.
"""

import contextlib
import importlib.util
import os
import re
import uuid
from pathlib import Path
from typing import TypeAlias

from tsframe.buckets import Remote, Seen

__all__ = [
    "Place",
    "create",
    "inside",
    "look",
    "move",
    "overwrite",
    "place",
    "sizes",
    "stamps",
    "stands",
    "swap",
    "touch",
]

Place: TypeAlias = Path | Remote


def place(where: "str | os.PathLike[str]") -> Place:
    """Say where something is: ``s3://bucket/key`` is in a bucket, all else in the file system.

    Raises
    ------
    ValueError
        If it is a URL of another kind, or names no key.
    ImportError
        If what speaks with buckets is not installed.
    """
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/", text := os.fspath(where))
    if not found:
        return Path(where)
    bucket, _, key = re.sub(r"^s3:/+", "", text).strip("/").partition("/")
    if found[1] != "s3":
        raise ValueError(
            f"{text}: a store is in a folder, or at s3://BUCKET/NAME.zarr; other services that "
            "speak S3 are named by AWS_ENDPOINT_URL."
        )
    if importlib.util.find_spec("obstore") is None:
        raise ImportError(
            f'{text} needs the package obstore, which is not installed: pip install "tsframe[s3]"'
        )
    if not key:
        raise ValueError(f"{text} names no place in the bucket; write s3://BUCKET/NAME.zarr.")
    return Remote(bucket, key)


def create(path: Place, text: str, durable: bool = False) -> bool:
    """Write a file whole and once; False if somebody else has written it.

    Parameters
    ----------
    path : Place
        What is written.
    text : str
        Its contents.
    durable : bool
        Whether to wait until they are on the disk, for what is done next rests on them.

    Returns
    -------
    bool
        Whether this call wrote it.
    """
    if isinstance(path, Remote):
        return path.create(text)
    draft = path.with_name(f".{path.stem}.{uuid.uuid4().hex}")
    with draft.open("w") as file:
        file.write(text)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    try:
        os.link(draft, path)  # the one portable way to create a file that is whole or not at all
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True


def overwrite(path: Place, data: str | bytes, drafts: Place | None = None) -> None:
    """Write a file whole, over what it said before.

    Parameters
    ----------
    path : Place
        What is written.
    data : str or bytes
        Its contents.
    drafts : Place, optional
        The folder on the same disk where a draft may stand for a moment; by default its own.

    Raises
    ------
    OSError
        If the system refuses.
    """
    raw = data.encode() if isinstance(data, str) else data
    if isinstance(path, Remote):
        path.overwrite(raw)
        return
    draft = Path(drafts or path.parent) / f".{path.stem}.{uuid.uuid4().hex}"
    try:
        draft.write_bytes(raw)
        os.replace(draft, path)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


def look(path: Place) -> Seen:
    """Read a file, and when it was written or touched last."""
    if isinstance(path, Remote):
        return path.look()
    time = path.stat().st_mtime  # first, as the file may be touched meanwhile
    return Seen(path.read_text(), time)


def swap(path: Place, seen: Seen, text: str) -> bool:
    """Let a file say something else; False if it is not what was seen any more.

    In a file system this is not certain: somebody may write between the look and the swap.
    """
    if isinstance(path, Remote):
        return path.swap(seen, text)
    overwrite(path, text)
    return True


def touch(path: Place) -> None:
    """Show that the writer of a file lives; what it says stays."""
    if isinstance(path, Remote):
        seen = path.look()
        path.swap(seen, seen.text)
    else:
        os.utime(path)


def stamps(folder: Place) -> frozenset[tuple[str, float]]:
    """Give the names of the files in a folder, and when they were written or touched last."""
    if isinstance(folder, Remote):
        return frozenset((o["path"], o["last_modified"].timestamp()) for o in folder.objects())
    with os.scandir(folder) as files:
        return frozenset((file.name, file.stat().st_mtime_ns) for file in files)


def move(source: Place, target: Place) -> None:
    """Move a file, or a folder with all that is in it, to another place of the same kind."""
    if isinstance(source, Remote) and isinstance(target, Remote):
        source.move(target)
    else:
        os.rename(source, target)


def inside(folder: Place, pattern: str = "*") -> list[Place]:
    """List what is one step below and has a name like this, sorted; nothing if there is none."""
    found: list[Place] = [*folder.glob(pattern)]
    return sorted(found, key=str)


def sizes(path: Place) -> list[int]:
    """Give the sizes in bytes of all files below."""
    if isinstance(path, Remote):
        return [int(item["size"]) for item in path.objects()]
    return [file.stat().st_size for file in path.rglob("*") if file.is_file()]


def stands(path: Place) -> bool:
    """Tell whether something stands somewhere; a store that somebody began to make does not.

    On a disk a store appears as a whole. In a bucket its spec is written first, and its root, by
    which it is one, last.
    """
    if isinstance(path, Remote):
        begun = (path / "runs" / "spec-1.json").is_file()
        return path.exists() and ((path / "zarr.json").is_file() or not begun)
    return path.exists() or path.is_symlink()

"""A bucket of an object store: `Remote` names what is in it as `Path` names files and folders.

It has the methods of `Path` that a store needs. An object store has no links, renames or times to
set; it has conditional writes instead: one that must not find the object there (If-None-Match),
and one that must find it as it was read (If-Match). A request may be carried out and its answer
lost; then it is repeated, and what it finds is its own doing. So each object that is written once
carries a word of its own that tells its writer.

This is the only file that imports obstore, and only when a bucket is used.
"""

import contextlib
import errno
import fnmatch
import functools
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any, TYPE_CHECKING

if TYPE_CHECKING:
    from obstore.store import S3Config, S3Store

__all__ = ["Remote", "Seen", "client", "refusals", "server"]

SERVER = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")  # in this order
RETRIES, PATIENCE, PAUSE = 5, timedelta(seconds=60), timedelta(milliseconds=100)
TRIES = 8  # of a write that meets another one


@dataclass(frozen=True)
class Seen:
    """What a file said when it was read, when it was written last, and which writing it was."""

    text: str
    time: float
    tag: str = ""


@dataclass(frozen=True)
class Stat:
    """What is known of an object: its size, when it was written, and which writing it is."""

    st_size: int
    st_mtime: float
    tag: str


@dataclass(frozen=True)
class Remote(os.PathLike[str]):
    """An object in a bucket of S3, or all objects below it.

    Parameters
    ----------
    bucket : str
        The bucket.
    key : str
        The key of the object, without slashes at its ends.

    Examples
    --------
    >>> path = Remote("bucket", "stores/phases.zarr")
    >>> str(path / "zarr.json"), path.stem, str(path.parent)
    ('s3://bucket/stores/phases.zarr/zarr.json', 'phases', 's3://bucket/stores')
    """

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    def __fspath__(self) -> str:
        return str(self)

    def __truediv__(self, part: str) -> "Remote":
        return Remote(self.bucket, f"{self.key}/{part}")

    def __lt__(self, other: "Remote") -> bool:
        return self.key < other.key

    @property
    def name(self) -> str:
        """The last part of the key."""
        return PurePosixPath(self.key).name

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return PurePosixPath(self.key).stem

    @property
    def suffix(self) -> str:
        """The end of the name, from its last dot on."""
        return PurePosixPath(self.key).suffix

    @property
    def parent(self) -> "Remote":
        """What this is in."""
        return Remote(self.bucket, str(PurePosixPath(self.key).parent))

    @property
    def client(self) -> "S3Store":
        """What speaks with the server of the bucket."""
        return client(self.bucket, "", server())

    def relative_to(self, other: "Remote") -> PurePosixPath:
        """Give the way from another place to here."""
        return PurePosixPath(self.key).relative_to(other.key)

    def exists(self) -> bool:
        """Tell whether there is such an object, or any below."""
        return self.is_file() or self.is_dir()

    def is_file(self) -> bool:
        """Tell whether there is such an object."""
        try:
            self.stat()
        except FileNotFoundError:
            return False
        return True

    def is_dir(self) -> bool:
        """Tell whether there are objects below."""
        import obstore

        with refusals(self):
            batches = obstore.list(self.client, self.key, chunk_size=1)
            return next(iter(batches), None) is not None

    def stat(self) -> Stat:
        """Look at an object without reading it."""
        import obstore

        with refusals(self):
            return stat_of(obstore.head(self.client, self.key))

    def read_bytes(self) -> bytes:
        """Read an object."""
        import obstore

        with refusals(self):
            return bytes(obstore.get(self.client, self.key).bytes())

    def read_text(self) -> str:
        """Read an object that is text."""
        return self.read_bytes().decode()

    def iterdir(self) -> Iterator["Remote"]:
        """List what is one step below, objects and what they are in.

        Yields
        ------
        Remote
            One after the other, sorted.
        """
        import obstore

        with refusals(self):
            found = obstore.list_with_delimiter(self.client, self.key)
        keys = [*found["common_prefixes"], *(item["path"] for item in found["objects"])]
        yield from (Remote(self.bucket, key) for key in sorted(keys))

    def glob(self, pattern: str) -> Iterator["Remote"]:
        """List what is one step below and has a name like this.

        Yields
        ------
        Remote
            One after the other, sorted.
        """
        yield from (item for item in self.iterdir() if fnmatch.fnmatchcase(item.name, pattern))

    def mkdir(self, parents: bool = False, exist_ok: bool = False) -> None:
        """Do nothing: an object needs no folder."""

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove an object; one that is not there is no error."""
        import obstore

        with refusals(self), contextlib.suppress(FileNotFoundError):
            obstore.delete(self.client, self.key)

    def create(self, text: str) -> bool:
        """Write an object once; False if somebody else has written it.

        Raises
        ------
        OSError
            If others write and remove it again and again.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError

        word = uuid.uuid4().hex
        with refusals(self):
            for _ in range(TRIES):
                try:
                    obstore.put(
                        self.client,
                        self.key,
                        text.encode(),
                        mode="create",
                        attributes={"writer": word},
                    )
                    return True
                except AlreadyExistsError:  # or two wrote at once, and both were turned away
                    with contextlib.suppress(FileNotFoundError):
                        found = obstore.get(self.client, self.key).attributes
                        return found.get("writer") == word  # ours, if an answer was lost
        raise OSError(errno.EBUSY, f"{self} is written and removed by others all the time")

    def overwrite(self, raw: bytes) -> None:
        """Write an object, over what it said before."""
        import obstore

        with refusals(self):
            obstore.put(self.client, self.key, raw)

    def look(self) -> Seen:
        """Read an object, and which writing of it this was."""
        import obstore

        with refusals(self):
            found = obstore.get(self.client, self.key)
            stat = stat_of(found.meta)
            return Seen(bytes(found.bytes()).decode(), stat.st_mtime, stat.tag)

    def swap(self, seen: Seen, text: str) -> bool:
        """Let an object say something else; False if it is not what was seen any more."""
        import obstore
        from obstore.exceptions import PreconditionError

        with refusals(self):
            try:
                obstore.put(self.client, self.key, text.encode(), mode={"e_tag": seen.tag})
            except (PreconditionError, FileNotFoundError):
                with contextlib.suppress(FileNotFoundError):
                    return self.look().text == text  # ours, if an answer was lost
                return False
        return True

    def objects(self) -> list[Any]:
        """List all objects below: path, size, last_modified and e_tag of each."""
        import obstore

        with refusals(self):
            return [item for batch in obstore.list(self.client, self.key) for item in batch]

    def move(self, target: "Remote") -> None:
        """Move an object, or all that are below, one after the other."""
        import obstore

        keys = [item["path"] for item in self.objects()] + ([self.key] if self.is_file() else [])
        with refusals(self):
            for key in keys:
                obstore.copy(self.client, key, target.key + key.removeprefix(self.key))
                obstore.delete(self.client, key)


def server() -> str:
    """Give the address of the server, if it is not Amazon's."""
    return next((os.environ[name] for name in SERVER if os.environ.get(name)), "")


@functools.lru_cache(maxsize=64)
def client(bucket: str, prefix: str, endpoint: str) -> "S3Store":
    """Give what speaks with a server, and keeps its connections; credentials are the machine's."""
    from obstore.store import S3Store

    config: S3Config = {"endpoint": endpoint} if endpoint else {}
    return S3Store(
        bucket,
        prefix=prefix or None,
        config=config,
        client_options={"allow_http": endpoint.startswith("http:")},
        retry_config={
            "max_retries": RETRIES,
            "retry_timeout": PATIENCE,
            "backoff": {"init_backoff": PAUSE},
        },
    )


@contextlib.contextmanager
def refusals(where: object) -> Iterator[None]:
    """Raise what a server refuses as a file system would: as an OSError.

    Raises
    ------
    FileNotFoundError
        If there is no such bucket.
    PermissionError
        If it is not allowed.
    OSError
        If it fails otherwise, repeatedly.
    """
    from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

    try:
        yield
    except BaseError as error:
        text = " ".join(f"{error}".split())[:500]
        if "NoSuchBucket" in text:
            raise FileNotFoundError(
                f"{where}: there is no such bucket; make it, or set AWS_ENDPOINT_URL to its server."
            ) from error
        # there was none, or a part of one, or the machine was asked for its role and has none
        nobody = "source: Missing" in text or "/latest/" in text
        if nobody or isinstance(error, PermissionDeniedError | UnauthenticatedError):
            what = "needs credentials, and there are none" if nobody else "is not for this user"
            raise PermissionError(
                f"{where} {what}: {text}. They are taken from AWS_ACCESS_KEY_ID, "
                "AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN as the process has them when it "
                "starts, or from the role of this machine."
            ) from error
        raise OSError(errno.EIO, f"{where}: {text}") from error


def stat_of(meta: Any) -> Stat:
    """Turn what the server says of an object into plain values."""
    return Stat(meta["size"], meta["last_modified"].timestamp(), f"{meta['e_tag']}")

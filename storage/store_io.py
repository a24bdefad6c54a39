"""PyIceberg's file interface over the object store, so that table metadata takes the one way all bytes take.

Metadata JSON, manifest lists and manifests are small: whole objects are held in memory.
"""

from __future__ import annotations

from io import BytesIO
from types import TracebackType

from pyiceberg.io import FileIO, InputFile, InputStream, OutputFile, OutputStream
from pyiceberg.typedef import EMPTY_DICT, Properties

from starberg.storage.object_store import ObjectMissing, ObjectStore


class StoreIO(FileIO):
    """Files are the objects of one store. Locations elsewhere raise LakeError, all else what the store raises."""

    def __init__(self, store: ObjectStore, properties: Properties = EMPTY_DICT) -> None:
        super().__init__(properties)
        self._store = store

    def new_input(self, location: str) -> StoreFile:
        """Return the file to read; it need not exist."""
        return StoreFile(self._store, location)

    def new_output(self, location: str) -> StoreFile:
        """Return the file to write; it may exist."""
        return StoreFile(self._store, location)

    def delete(self, location: str | InputFile | OutputFile) -> None:
        """Delete the object; FileNotFoundError if there is none."""
        file = StoreFile(self._store, location if isinstance(location, str) else location.location)
        if not file.exists():
            raise ObjectMissing(f"no object {file.location}")
        self._store.delete([file.key])


class StoreFile(InputFile, OutputFile):
    """One object as a file to read or write."""

    def __init__(self, store: ObjectStore, location: str) -> None:
        super().__init__(location)
        self.key = store.key(location)
        self._store = store
        self._written: int | None = None

    def __len__(self) -> int:
        """Return the object's bytes; FileNotFoundError if there is none. What was just written is not asked for."""
        size = self._store.size(self.key) if self._written is None else self._written
        if size is None:
            raise ObjectMissing(f"no object {self.location}")
        return size

    def __bool__(self) -> bool:
        """Be true, also without an object: a length is not asked for."""
        return True

    def exists(self) -> bool:
        """Tell whether the object is there."""
        return self._store.size(self.key) is not None

    def open(self, seekable: bool = True) -> InputStream:
        """Read the object; FileNotFoundError if there is none."""
        return BytesIO(self._store.get(self.key))

    def to_input_file(self) -> StoreFile:
        """Return the same file to read."""
        return self

    def create(self, overwrite: bool = False) -> OutputStream:
        """Return a stream that becomes the object when it is closed.

        Without `overwrite` it is the closing that raises FileExistsError: the store decides then, atomically.
        """
        return _Unstored(self, overwrite)

    def store(self, data: bytes, *, overwrite: bool) -> None:
        """Write the object; FileExistsError if it exists and may not be replaced."""
        if not self._store.put(self.key, data, if_absent=not overwrite):
            raise FileExistsError(f"{self.location} exists")
        self._written = len(data)


class _Unstored:
    """Bytes on their way into the store: all of them at `close`, none if the `with` block fails.

    Not a BytesIO, which Python closes when it forgets it: half a file would be stored.
    """

    def __init__(self, file: StoreFile, overwrite: bool) -> None:
        self._file = file
        self._overwrite = overwrite
        self._bytes = BytesIO()

    @property
    def closed(self) -> bool:
        """Tell whether it was stored or dropped."""
        return self._bytes.closed

    def write(self, b: bytes) -> int:
        """Add bytes; return how many."""
        return self._bytes.write(b)

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self._bytes.tell()

    def flush(self) -> None:
        """Do nothing: an object has no half state to show."""

    def close(self) -> None:
        """Store the object, once."""
        if not self.closed:
            with self._bytes:
                data = self._bytes.getvalue()
            self._file.store(data, overwrite=self._overwrite)

    def __enter__(self) -> _Unstored:
        return self

    def __exit__(
        self, exctype: type[BaseException] | None, excinst: BaseException | None, exctb: TracebackType | None
    ) -> None:
        if exctype is None:
            self.close()
        self._bytes.close()

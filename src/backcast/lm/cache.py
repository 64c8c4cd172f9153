"""Every model call, remembered: what was asked is the key, so work killed at any point costs nothing when run again."""

import hashlib
import json
import logging
import os
import socket
import sqlite3
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from backcast.core.errors import BadInput, WorkFailed
from backcast.core.files import cache_folder
from backcast.lm.base import LM, Completion, Prompt, Sampling, Scoring, TokenScores

T = TypeVar("T")

LAYOUT = 1
"""Version of the file's layout, in SQLite's ``user_version``."""

PATIENCE = 60.0
"""Seconds to wait for another process to release the file."""

_SQL_VARIABLES = 500  # keys per SELECT; SQLite's limit is 999 in old builds
_WAITING = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CacheStats:
    """What ``backcast doctor`` says of a call cache."""

    path: Path
    rows: int
    """Calls remembered; equals the model calls ever completed through this file."""
    bytes: int
    """Size on disk, write-ahead log included."""


class CallCache:
    """A content-addressed store of results in one SQLite file; any number of threads and processes may share it.

    The file is in WAL mode and every ``put`` is one transaction: after ``kill -9`` a batch is wholly there or wholly
    absent.  Raises ``BadInput`` when the file cannot be opened or is damaged or the disk is full, ``WorkFailed`` when
    another process keeps the file locked for ``PATIENCE`` seconds; both name the path.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path if path is not None else cache_folder() / "calls.sqlite"
        self.damaged = 0
        """Rows whose checksum was wrong; they were deleted, and count as never computed."""
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._owner = 0

    def __reduce__(self) -> tuple[type["CallCache"], tuple[Path]]:
        return CallCache, (self.path,)

    def get(self, keys: Iterable[str]) -> dict[str, bytes]:
        """The stored values of those ``keys`` that are present and whole."""
        wanted = list(dict.fromkeys(keys))
        return self._patiently(lambda connection: self._read(connection, wanted))

    def put(self, entries: Mapping[str, bytes]) -> dict[str, bytes]:
        """Stores all of ``entries`` in one transaction and returns what the file now holds for their keys.

        The first writer of a key wins: where another process stored a value in the meantime, that value comes back, so
        that everybody goes on with the same one.
        """
        if not entries:
            return {}
        return self._patiently(lambda connection: self._write(connection, entries))

    def stats(self) -> CacheStats:
        """Rows, bytes and path."""
        rows = self._patiently(lambda connection: int(connection.execute("SELECT COUNT(*) FROM calls").fetchone()[0]))
        files = [self.path, *(self.path.with_name(self.path.name + end) for end in ("-wal", "-shm"))]
        return CacheStats(self.path, rows, sum(file.stat().st_size for file in files if file.exists()))

    def close(self) -> None:
        """Closes the file; the next call opens it again."""
        with self._lock:
            if self._connection is not None and self._owner == os.getpid():
                self._connection.close()
            self._connection = None

    def _read(self, connection: sqlite3.Connection, keys: Sequence[str]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        broken: list[str] = []
        for first in range(0, len(keys), _SQL_VARIABLES):
            part = keys[first : first + _SQL_VARIABLES]
            marks = ",".join("?" * len(part))
            rows = connection.execute(f"SELECT key, value, checksum FROM calls WHERE key IN ({marks})", part)
            for key, value, checksum in rows.fetchall():
                if isinstance(value, bytes) and checksum == _checksum(key, value):
                    found[key] = value
                else:
                    broken.append(key)
        if broken:
            self._delete(connection, broken)
        return found

    def _delete(self, connection: sqlite3.Connection, keys: Sequence[str]) -> None:
        connection.executemany("DELETE FROM calls WHERE key = ?", [(key,) for key in keys])
        self.damaged += len(keys)
        _log.warning("call cache '%s': %d damaged rows deleted; they are computed again", self.path, len(keys))

    def _write(self, connection: sqlite3.Connection, entries: Mapping[str, bytes]) -> dict[str, bytes]:
        rows = [(key, value, _checksum(key, value)) for key, value in entries.items()]
        connection.execute("BEGIN IMMEDIATE")
        try:
            before = self._read(connection, list(entries))
            connection.executemany("INSERT OR IGNORE INTO calls (key, value, checksum) VALUES (?, ?, ?)", rows)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return {**entries, **before}

    def _patiently(self, action: Callable[[sqlite3.Connection], T]) -> T:
        """Runs ``action`` on the open file; waits while others hold it, and turns SQLite's errors into one line."""
        give_up = time.monotonic() + PATIENCE
        with self._lock:
            while True:
                try:
                    return action(self._open())
                except sqlite3.Error as error:
                    if _code(error) not in _WAITING or time.monotonic() > give_up:
                        raise self._explained(error) from error
                    time.sleep(0.02)

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None and self._owner == os.getpid():
            return self._connection
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error.strerror or str(error)) from error
        connection = sqlite3.connect(self.path, timeout=PATIENCE / 10, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        # A connection must not cross a fork, so the process that opened it is remembered.
        self._connection, self._owner = connection, os.getpid()
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        # NORMAL never loses a committed transaction to kill -9, only (perhaps) the latest ones to a power cut.
        connection.execute("PRAGMA synchronous = NORMAL")
        layout = connection.execute("PRAGMA user_version").fetchone()[0]
        if layout not in (0, LAYOUT):
            raise BadInput(
                f"call cache '{self.path}' has layout {layout}, this version writes {LAYOUT}; "
                "set BACKCAST_CACHE to another folder, or move the file away"
            )
        if layout == 0:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS calls (key TEXT PRIMARY KEY, value BLOB NOT NULL, checksum BLOB NOT NULL)"
            )
            connection.execute(f"PRAGMA user_version = {LAYOUT}")

    def _explained(self, error: sqlite3.Error) -> BadInput | WorkFailed:
        code = _code(error)
        if code in _DAMAGED:
            return BadInput(
                f"call cache '{self.path}' is damaged ({error}); move it away with its -wal and -shm files and run "
                "again (only the saving of repeated model calls is lost)"
            )
        if code == sqlite3.SQLITE_FULL:
            return BadInput(
                f"call cache '{self.path}' cannot grow ({error}); free some space or set BACKCAST_CACHE to a larger "
                "disk, then run again: finished batches are kept"
            )
        if code in _WAITING:
            return WorkFailed(f"call cache '{self.path}' stayed locked by another process for {PATIENCE:.0f} s")
        return self._unusable(str(error))

    def _unusable(self, reason: str) -> BadInput:
        return BadInput(
            f"call cache '{self.path}' cannot be used ({reason}); "
            "set BACKCAST_CACHE to a folder that can be written, or add --no-cache"
        )


def _recached(lm: LM, path: Path, host: str) -> "CachedLM":
    """In another process; another machine gets a file of its own, as SQLite cannot share one over a network."""
    here = socket.gethostname()
    return CachedLM(lm, CallCache(path if here == host else path.with_name(f"{path.stem}.{here}{path.suffix}")))


class CachedLM:
    """An LM that asks ``lm`` only what the cache does not know; the answers are the same either way.

    All misses of one call travel in one batch and are stored in one transaction, because on most hardware the
    composition of a batch changes the last bits of its results: a killed run that is started again sends the same
    batches, and its results are the same byte for byte.  A batch that fails stores nothing.
    """

    def __init__(self, lm: LM, cache: CallCache) -> None:
        self.lm, self.cache = lm, cache
        self.name, self.fingerprint = lm.name, lm.fingerprint
        self.calls = 0
        """Items asked: prompts to sample, continuations to score."""
        self.misses = 0
        """Model calls really made: items the cache did not know, each distinct one once."""

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return _recached, (self.lm, self.cache.path, socket.gethostname())

    @property
    def hits(self) -> int:
        """Items answered without the model."""
        return self.calls - self.misses

    def sample(self, prompts: Sequence[Prompt], n: int, sampling: Sampling) -> list[list[Completion]]:
        """As ``LM.sample``; one cache row per prompt holds its ``n`` completions."""
        keys = [_sample_key(self.fingerprint, prompt, n, sampling) for prompt in prompts]
        stored = self.cache.get(keys)
        asked = {key: prompt for key, prompt in zip(keys, prompts, strict=True) if key not in stored}
        if asked:
            fresh = self.lm.sample(list(asked.values()), n, sampling)
            stored |= self.cache.put({key: pack_completions(some) for key, some in zip(asked, fresh, strict=True)})
        self.count(len(keys), len(asked))
        return [unpack_completions(stored[key]) for key in keys]

    def logprobs(self, items: Sequence[Scoring]) -> list[list[TokenScores]]:
        """As ``LM.logprobs``; one cache row per continuation."""
        keys = [[_score_key(self.fingerprint, item.prompt, *pair) for pair in _pairs(item)] for item in items]
        flat = [key for row in keys for key in row]
        stored = self.cache.get(flat)
        asked = self._unknown(items, keys, stored)
        misses = [key for names, _ in asked for key in names]
        if asked:
            fresh = self.lm.logprobs([item for _, item in asked])
            scores = [score for row in fresh for score in row]
            stored |= self.cache.put({key: pack_scores(score) for key, score in zip(misses, scores, strict=True)})
        self.count(len(flat), len(misses))
        return [[unpack_scores(stored[key]) for key in row] for row in keys]

    @staticmethod
    def _unknown(
        items: Sequence[Scoring], keys: Sequence[Sequence[str]], stored: Mapping[str, bytes]
    ) -> list[tuple[list[str], Scoring]]:
        """The items cut down to the continuations that are not stored, each distinct one once, with their keys."""
        seen = set(stored)
        asked = []
        for item, row in zip(items, keys, strict=True):
            fresh = {key: pair for key, pair in zip(row, _pairs(item), strict=True) if key not in seen}
            seen |= fresh.keys()
            if fresh:
                texts, starts = zip(*fresh.values(), strict=True)
                asked.append((list(fresh), replace(item, continuations=texts, starts=starts)))
        return asked

    def count(self, calls: int, misses: int) -> None:
        """Adds to ``calls`` and ``misses``, such as those of a copy in another process."""
        self.calls += calls
        self.misses += misses


def pack_completions(completions: Sequence[Completion]) -> bytes:
    """Completions as compressed JSON."""
    return zlib.compress(json.dumps([[c.text, c.tokens, c.finished] for c in completions]).encode())


def unpack_completions(value: bytes) -> list[Completion]:
    """The inverse of ``pack_completions``."""
    return [Completion(*fields) for fields in json.loads(zlib.decompress(value))]


def pack_scores(scores: TokenScores) -> bytes:
    """Token scores as two counts, float32 log-probabilities and int32 offsets, compressed; exact."""
    logprobs = np.ascontiguousarray(scores.logprobs, dtype="<f4")
    offsets = np.asarray(scores.offsets, dtype="<i4").reshape(-1)
    head = struct.pack("<II", logprobs.size, offsets.size // 2)
    return zlib.compress(head + logprobs.tobytes() + offsets.tobytes())


def unpack_scores(value: bytes) -> TokenScores:
    """The inverse of ``pack_scores``."""
    data = zlib.decompress(value)
    tokens, pairs = struct.unpack_from("<II", data)
    logprobs = np.frombuffer(data, dtype="<f4", count=tokens, offset=8).astype(np.float32)
    offsets = np.frombuffer(data, dtype="<i4", count=2 * pairs, offset=8 + 4 * tokens).reshape(-1, 2)
    return TokenScores(logprobs, tuple((int(start), int(end)) for start, end in offsets))


def _pairs(item: Scoring) -> list[tuple[str, int]]:
    return list(zip(item.continuations, item.starts, strict=True))


def _sample_key(fingerprint: str, prompt: Prompt, n: int, sampling: Sampling) -> str:
    return _key([fingerprint, "sample", prompt.messages, prompt.prefill, n, asdict(sampling)])


def _score_key(fingerprint: str, prompt: Prompt, continuation: str, start: int) -> str:
    return _key([fingerprint, "score", prompt.messages, prompt.prefill, continuation, start])


def _key(asked: list[object]) -> str:
    canonical = json.dumps(asked, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def _checksum(key: str, value: bytes) -> bytes:
    # The key is part of it: a value that strayed to another row is damage, too.
    return hashlib.blake2b(key.encode() + value, digest_size=16).digest()


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF

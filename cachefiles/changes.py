"""How files that stay come to stand for another version of the remote file.

Two ways. A *restamp* exchanges the record in one step where it is known at once what changed. Where
the change takes a while it is *begun* and *finished*: the object is unfinished in between, and its
one user a :class:`~cachefiles.changing.ChangingObject`. Either way the object before is retired, so
that what was fetched under the old record cannot be stored under the new one.

Several processes. What is being changed must not be read by others, and nothing be stored in it by
others. So files that another process has open, or a call of this one that does not end, are left to
it, buried, and the change begins with none: that costs fetching them again. A process that opens
the object while it is being changed finds the mark and buries the files. The one that changes it
then stores in vain and is told so, at the latest when it is about to finish.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cachefiles.changing import ChangingObject
from cachefiles.coherency import Record
from cachefiles.contentmap import BLOCK
from cachefiles.errors import translated
from cachefiles.extents import Extent
from cachefiles.folder import Doomed, Gone, Stored
from cachefiles.generation import Generation, encode
from cachefiles.key import identity, object_path
from cachefiles.object import Object
from cachefiles.opened import Asked, Fits, OpenObjects

CALLS_TIMEOUT = 1.0
"""Seconds to wait for calls on the object as it was: each is one transfer."""


class Changes:
    """For one volume. Safe to use from several threads. Raises ``CacheError``."""

    def __init__(self, opened: OpenObjects) -> None:
        self._opened = opened
        self._folder = opened.folder

    def begin(self, asked: Asked, *, keep: bool, mark: bool = True) -> ChangingObject:
        """As :meth:`cachefiles.volume.Volume.begin_changes`. A file of one block keeps nothing:
        whatever is changed of it is that block, and burying needs no sync. Without ``mark`` no
        content is going to change: then it is kept, and stays valid until it is finished."""
        keep = keep and (asked.begins.record.size > BLOCK or not mark)
        opened = self._opened
        with opened.lock:
            before = opened.take_out(asked.path)
        if before is not None:
            before.wait_out(CALLS_TIMEOUT)
        doomed = Doomed()
        try:
            with opened.alone("beginning to change a cached file"):
                opened.take_out(asked.path)  # opened again in between
                stored = self._take(asked, doomed, keep=keep, mark=mark)
                blocks, generation = None, asked.begins
                if isinstance(stored, Stored):
                    generation = stored.generation
                    blocks = opened.blocks(asked.key, stored, stamped=False)
                unseen = replace(asked, fits=lambda _: False)
                made = opened.put(
                    unseen, generation, blocks, pinned=stored.pinned, kind=ChangingObject
                )
                assert isinstance(made, ChangingObject)
            if mark:
                try:
                    with translated("beginning to change a cached file"):
                        made.sync_mark()
                except BaseException:
                    made.close()
                    raise
            return made
        finally:
            self._folder.put_away(doomed)

    def _take(self, asked: Asked, doomed: Doomed, *, keep: bool, mark: bool) -> Stored | Gone:
        """The files, marked unfinished, that no other opener uses; others are buried."""
        folder = self._folder
        stored = folder.find(asked.path, lambda known: keep and asked.fits(known), doomed)
        if isinstance(stored, Gone):
            return stored
        generation = replace(stored.generation, unfinished=mark)
        pinned = taken = False
        try:
            pinned = folder.is_pinned(stored.data)
            if not mark:  # others may use it: they store the same content
                taken = True
                folder.describe(stored.data, asked.label)
            elif folder.take_alone(stored.data):
                folder.restamp(stored.data, generation)
                taken = True
            folder.touch(stored.data)
        finally:
            if not taken:
                doomed.descriptors += (stored.data, stored.map)
                folder.bury(asked.path, doomed)
        if not taken:
            return Gone(replaced=True, pinned=pinned)
        return replace(stored, generation=generation, pinned=pinned)

    def finish(self, user: Object, key: bytes, coherency: bytes) -> bool:
        """As :meth:`ChangingObject.finish`."""
        assert isinstance(user, ChangingObject)
        opened = self._opened
        record = Record(identity(opened.key, key), user.size, coherency, key)
        encode(replace(user.generation, record=record))
        done = False
        doomed = Doomed()
        try:
            with translated("finishing a cached file"):
                user.settle()
            with opened.alone("finishing a cached file"):
                done = self._finish(user, key, record, doomed)
        finally:
            if not done:
                opened.drop(user)
            self._folder.put_away(doomed)
        return done

    def _finish(self, user: ChangingObject, key: bytes, record: Record, doomed: Doomed) -> bool:
        opened = self._opened
        live = opened.find(user)
        if live is None or not user.changing or not user.settled or user.buried:
            return False
        finished = Generation(user.generation.number, record)
        if user.generation.given_seed is not None or (user.has_files and key != live.asked.key):
            seed = user.generation.seed(opened.key, live.asked.key)
            finished = replace(finished, given_seed=seed)
        path = object_path(key)
        if path != user.path:
            opened.take_out(path)
            if user.has_files:
                self._folder.move(user.path, path, doomed)
        opened.move(user, Asked(key, path, finished, _only(record), live.asked.label))
        user.set_header(lambda data: self._folder.restamp(data, finished))
        user.finished(finished)
        opened.left_unsynced |= user.has_files
        return True

    def restamp(
        self, user: Object, size: int, coherency: bytes, changed: Sequence[Extent]
    ) -> Object | None:
        """As :meth:`Object.restamp`. What it strikes is synced under the directory's lock, so that
        no other process can store in between what would be trusted under the new record."""
        opened = self._opened
        known = user.generation
        restamped = replace(known, record=replace(known.record, size=size, coherency=coherency))
        encode(restamped)
        doomed = Doomed()
        try:
            with opened.alone("restamping a cached file"):
                live = opened.find(user)
                if live is None or user.retired or user.changing or user.buried:
                    return None
                blocks = user.hand_over(self._folder.take_alone)
                if blocks is None:
                    return None
                opened.take_out(user.path)
                try:
                    blocks.strike_for(size, changed)
                    self._folder.restamp(blocks.data.fd, restamped)
                except BaseException:
                    # Which record it has now is not known: the generation is over.
                    try:
                        self._folder.bury(user.path, doomed)
                    finally:
                        blocks.close()
                    raise
                opened.left_unsynced |= user.changed
                asked = replace(live.asked, begins=restamped, fits=_only(restamped.record))
                return opened.put(asked, restamped, blocks.renewed(size), pinned=live.pinned)
        finally:
            self._folder.put_away(doomed)


def _only(record: Record) -> Fits:
    """What fits ``record`` and no other; the readable key may have been cut."""

    def fits(known: Record) -> bool:
        return replace(known, readable=b"") == replace(record, readable=b"")

    return fits

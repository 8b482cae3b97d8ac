"""Which class does the work of which cell and contender."""

from __future__ import annotations

from netfsfuse.lab.bench.plan import Cell, Contender, Kind
from netfsfuse.lab.bench.plan import Work as Asked
from netfsfuse.lab.bench.target import Target
from netfsfuse.lab.bench.work.base import Bench, Work
from netfsfuse.lab.bench.work.cached import Reopen, kinds_of_warm
from netfsfuse.lab.bench.work.firstbyte import FirstByte
from netfsfuse.lab.bench.work.many import MountedParallel, Shared, SmbclientParallel
from netfsfuse.lab.bench.work.randomly import Random
from netfsfuse.lab.bench.work.reading import make_reading
from netfsfuse.lab.bench.work.tree import Find, Grep
from netfsfuse.lab.bench.work.unpacking import make_unpacking
from netfsfuse.lab.bench.work.writing import make_writing


def make_work(bench: Bench, cell: Cell, contender: Contender, target: Target) -> Work:
    """The work; the caller closes it."""
    match cell.work:
        case Asked.READ | Asked.COPY:
            return make_reading(bench, cell, contender, target)
        case Asked.WARM:
            return kinds_of_warm(contender.kind)(bench, cell, contender, target)
        case Asked.REOPEN:
            return Reopen(bench, cell, contender, target)
        case Asked.FIRST_BYTE:
            return FirstByte(bench, cell, contender, target)
        case Asked.RANDOM:
            return Random(bench, cell, contender, target)
        case Asked.FIND:
            return Find(bench, cell, contender, target)
        case Asked.GREP:
            return Grep(bench, cell, contender, target)
        case Asked.WRITE | Asked.WRITE_SMALL:
            return make_writing(bench, cell, contender, target)
        case Asked.UNTAR:
            return make_unpacking(bench, cell, contender, target)
        case Asked.SHARED:
            return Shared(bench, cell, contender, target)
        case Asked.PARALLEL if contender.kind is Kind.SMBCLIENT:
            return SmbclientParallel(bench, cell, contender, target)
        case Asked.PARALLEL:
            return MountedParallel(bench, cell, contender, target)

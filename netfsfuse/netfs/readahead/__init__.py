"""PURE: how far ahead of its readers, and in requests of which size, data should be on its way.

No I/O and no clock: the caller says what happened and when (``now``: seconds of one monotonic
clock). One :class:`Link` a mount, one :class:`Streams` a handle::

    link = Link(config)
    flight = link.started(now, length)          # a READ goes out
    link.finished(flight, now, transferred)     # or link.abandoned(flight)
    link.limit = bytes_that_credits_allow

    streams = Streams(config, link)
    ahead = streams.on_read(start, size, i_size, now)   # for each read: what to fetch besides
    ahead = streams.waited(now)                         # it is not there: what to fetch at once
    streams.refused(byte_range)                         # no buffer for this part: say it again
    streams.close()

The files, from the bottom: ``config``, ``answer`` (plain values); ``measure`` (round trip, rate),
``sizing`` (request size), ``growth`` (one stream's window), ``shares`` (the window divided),
``link`` (all windows together); ``run``, ``backward``, ``strided`` (patterns), ``streams``.

The theory
    To keep a link busy, as many bytes must be in flight as it holds: the delay-bandwidth product,
    the lowest round trip times the highest delivery rate. Less leaves it idle; more only waits in
    a queue, where it is in the way of all and outgrows the CPU's cache. Both factors are measured
    from completed requests as BBR does (Cardwell et al., 2016): a rate sample counts the bytes
    delivered between the sending of a request and its answer, and samples that were taken while
    the readers did not use the window may raise the estimate but never lower it. So a slow reader
    says nothing against the link. As in BBR the window doubles with every round trip until three
    rounds brought no quarter more.

    Afterwards it is steered as Vegas does (Brakmo and Peterson, 1994): what is in flight beyond the
    product is a queue; fewer than ALPHA requests of it while readers wait, and the window grows;
    more than BETA, and it shrinks; between them it holds. Both are counted in requests because a
    server works on whole requests. Machines with few busy cores answer at very uneven times, and
    the lowest round trip then says too little: the mean difference of successive round trips (the
    jitter of RTP, RFC 3550) times the rate is added. A standing queue delays successive requests
    alike, and so does not add to it. Every ten seconds without a low round trip the queue is
    drained for two rounds, BBR's remedy against taking one's own queue for the link's delay.

    A link knows what could be in flight, not which reader needs it. That is each stream's own
    matter, and follows the rule of the discussion that this project came from: a read that finds
    its data changes nothing, one that waits asks for more, and one that never waits holds still. So
    a player that takes 5 MB/s keeps 2 MiB ahead on the same link on which a copy keeps 40. What a
    read is to those before it is told as Linux's ondemand readahead tells it, from positions alone,
    with room for the disorder in which the kernel's own readahead arrives here.

What it amounts to, simulated (tests/netfs/readahead; one reader, window without the kernel's reads)
    ==========  ========  =========  =======
    round trip  rate      window     request
    ==========  ========  =========  =======
    0.5 ms      1 GB/s    3.8 MiB    1 MiB
    0.5 ms      1 Gbit/s  0.9 MiB    256 KiB
    50 ms       1 Gbit/s  7.1 MiB    256 KiB
    50 ms       700 MB/s  38 MiB     1 MiB
    ==========  ========  =========  =======
    The link is at least 90 % busy for 0.5 to 200 ms and 30 to 1000 MB/s where 64 MiB cover the
    product; the first file of an unknown link of 50 ms and 600 MB/s has it full after six round
    trips, the second after two.

Every constant has its reason beside it.
"""

from netfsfuse.netfs.readahead.answer import Ahead, Pattern
from netfsfuse.netfs.readahead.config import AheadConfig
from netfsfuse.netfs.readahead.link import Link
from netfsfuse.netfs.readahead.measure import Flight
from netfsfuse.netfs.readahead.streams import Streams

__all__ = ["Ahead", "AheadConfig", "Flight", "Link", "Pattern", "Streams"]

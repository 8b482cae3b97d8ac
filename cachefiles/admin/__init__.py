"""What an administrator sees of a cache, bound or not: the command and what it stands on.

* ``command``       ``python -m cachefiles``
* ``look``          its subcommands that show: list, show, verify, stats
* ``change``        and those that change: cull, drop, pin, unpin
* ``session``       one invocation: which cache, and what the words mean
* ``survey``        what is in a cache, found from outside
* ``outside``       one object found by its place: is it whole, pin it
* ``verification``  every block against its checksum
* ``report``        tables and lines of text

Imports the library, and ``click`` and ``rich``, which nothing else in it does.
"""

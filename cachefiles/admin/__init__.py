"""What an administrator sees of a cache, bound or not: the command and what it stands on.

* ``command``       ``python -m cachefiles``
* ``survey``        what is in a cache, found from outside
* ``outside``       one object found by its place: is it whole, pin it
* ``verification``  every block against its checksum
* ``report``        tables and lines of text
"""

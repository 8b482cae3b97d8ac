"""The workshop: a throw-away server, long links, the bench and the demo.

Imported by the command alone (``netfsfuse demo``, ``netfsfuse bench``) and by the tests; drives the
real command, and imports nothing of the product but leaves.

* ``server``   a private Samba, and what it serves
* ``link``     long links on one machine
* ``bench``    ``netfsfuse bench``
* ``demo``     ``netfsfuse demo``
* ``mounts``   mount points seen from outside, and removed
* ``signals``  an interrupt ends what was begun, and cleans up
"""

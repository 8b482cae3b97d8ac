"""Long links on one machine, for the bench.

``proxy`` adds a round trip and a rate to TCP connections; any user can run it. ``tun`` adds a round
trip below TCP, so that TCP's own windows count; it needs root and a ``namespace`` of its own.
``ceiling`` measures what either carries by itself. Below them: ``process`` holds the process that
does the work, ``relay`` with ``connection``, ``flow``, ``line`` and ``wire`` is the proxy's, and
``reflector`` the TUN's. ``namespace`` runs a command in a network of its own. Imports leaves alone.
"""

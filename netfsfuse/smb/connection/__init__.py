"""One TCP connection: ``transport``, ``outbox``, ``receive``, ``intake``, ``landing``,
``exchange``, ``apart``, ``credits``, ``credit_gate``, ``crypto``, ``established``, ``liveness``,
``clock``."""

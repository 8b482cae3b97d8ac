"""The login and its connections: ``session``, ``redial``, ``refusals``, ``bridge`` (with
``handshake_transport``, ``anonymous``, ``lockstep``, ``confirmation``, ``negotiation``, ``keys``),
``channels``, ``siblings``, ``saturation``, ``lease``, ``fileids``, ``scarcity``, ``followed``."""

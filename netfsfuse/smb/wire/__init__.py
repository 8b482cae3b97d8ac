"""PURE: the SMB2 messages that we pack and parse ourselves, because they are hot.

One file a command. Requests are bodies without the 64-byte header; replies are parsed from the
whole message, header included, since [MS-SMB2] counts its offsets from the header. Everything
rarer goes through smbprotocol's structures.
"""

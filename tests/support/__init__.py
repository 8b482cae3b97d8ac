"""What the tests with a real Samba and a real mount share, and tests of that itself."""

# make demo    install what is missing, then show the product at work
# make test    install what is missing, then run all tests, on a real Samba and a real mount
# make bench   install what is missing, rclone and smbclient too, and measure; BENCH='--quick' etc.
# make check   formatting, lint, types, and the tests that need neither Samba nor a mount
# make fast    the same, of the tests only those on fakes and a mock clock: after every edit
# make soak    the long torture tests
# make venv    only the environment: .venv/bin/netfsfuse is the command afterwards
# make clean   remove everything that these targets made
# tests/README.md says what goes where.

# Processes that run tests side by side: one more than cores, since many tests wait more than they
# work.
WORKERS := 3

VENV := .venv/bin

PARALLEL := -n $(WORKERS) --dist worksteal
BARE := not samba and not mount and not machine and not soak
PURE := tests/netfs tests/vfs tests/fuse tests/fscache tests/smb $(wildcard tests/test_*.py)

.PHONY: demo test bench check fast style soak venv clean kerberos \
	packages demo-packages test-packages bench-packages

demo: venv demo-packages
	$(VENV)/netfsfuse demo

# Those marked "alone" measure time or drop the caches of all mounts: when the others are done.
test: venv kerberos
	$(VENV)/python -m pytest -q $(PARALLEL) -m "not alone and not soak"
	$(VENV)/python -m pytest -q -m "alone and not soak"

bench: venv bench-packages
	$(VENV)/netfsfuse bench $(BENCH)

check: style
	$(VENV)/python -m pytest -q $(PARALLEL) -m "$(BARE)"

fast: style
	$(VENV)/python -m pytest -q $(PARALLEL) -m "$(BARE)" $(PURE)

style: venv
	$(VENV)/ruff format --check .
	$(VENV)/ruff check .
	$(VENV)/mypy

soak: venv kerberos
	$(VENV)/python -m pytest -m soak --timeout=3600 -o faulthandler_timeout=0

venv: packages
	@scripts/venv

packages:
	@scripts/packages

demo-packages: packages
	@scripts/packages samba

# After the others, so that two apt-get never run at once under make -j.
test-packages: packages
	@scripts/packages samba fio git iproute2 rsync strace e2fsprogs xfsprogs btrfs-progs \
		krb5-kdc krb5-admin-server krb5-user libkrb5-dev

# The extra, built from source: after the packages that it is built with.
kerberos: venv test-packages
	@$(VENV)/python -c 'import gssapi, krb5' 2>/dev/null || \
		$(VENV)/python -m pip install --quiet --disable-pip-version-check 'gssapi>=1.8' 'krb5>=0.5'

bench-packages: packages
	@scripts/packages samba fio rclone smbclient iproute2

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

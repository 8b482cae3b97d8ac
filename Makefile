# make demo    install what is missing, then show the product at work
# make test    install what is missing, then run all tests, on a real Samba and a real mount
# make bench   install what is missing, rclone and smbclient too, and measure; BENCH='--quick' etc.
# make check   formatting, lint, types, and the tests that need neither Samba nor a mount
# make soak    the long torture tests
# make venv    only the environment: .venv/bin/netfsfuse is the command afterwards
# make clean   remove everything that these targets made

VENV := .venv/bin

.PHONY: demo test bench check soak venv packages test-packages bench-packages clean

demo: venv
	$(VENV)/netfsfuse demo

test: venv test-packages
	$(VENV)/python -m pytest -m "not soak"

bench: venv bench-packages
	$(VENV)/netfsfuse bench $(BENCH)

check: venv test-packages
	$(VENV)/ruff format --check .
	$(VENV)/ruff check .
	$(VENV)/mypy
	$(VENV)/python -m pytest -q -m "not samba and not mount and not soak"

soak: venv test-packages
	$(VENV)/python -m pytest -m soak --timeout=3600 -o faulthandler_timeout=0

venv: packages
	@scripts/venv

packages:
	@scripts/packages

# After the others, so that two apt-get never run at once under make -j.
test-packages: packages
	@scripts/packages fio git iproute2 rsync e2fsprogs xfsprogs btrfs-progs

bench-packages: packages
	@scripts/packages fio rclone smbclient iproute2

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

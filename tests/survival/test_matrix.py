"""Each fault under each load: no wrong byte, no error but those that are foreseen, nothing left.

In the suite some faults meet all loads at once; among the soaks each meets each load by itself, and
all at once again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from netfsfuse.lab.server.samba import PrivateSamba
from tests.support.mounted import Mounted
from tests.survival import loads
from tests.survival.faults import SCENARIOS, Scenario, mark
from tests.survival.stage import Stage, Turn, Working, check_nothing_left

_PATIENCE = 60.0
_BEFORE = 20.0


@pytest.fixture(scope="module")
def servers(session_folder: Path) -> Iterator[Callable[[Scenario], PrivateSamba]]:
    """One server for each set of options, with what the loads read."""
    made: dict[str, PrivateSamba] = {}
    with ExitStack() as stack:

        def server(scenario: Scenario) -> PrivateSamba:
            key = repr(sorted(scenario.server.items()))
            if key not in made:
                made[key] = stack.enter_context(PrivateSamba(scenario.server, base=session_folder))
                loads.prepare(made[key].path)
            return made[key]

        yield server


@pytest.fixture
def play(servers, mount, proxy) -> Callable[..., None]:
    """``play(scenario, names)``: the fault while those loads work, and all that must hold."""

    def run(scenario: Scenario, names: tuple[str, ...]) -> None:
        server = servers(scenario)
        line = proxy(server.port)
        source = f"//127.0.0.1:{line.port}/{server.share}"
        mounted: Mounted = mount(server, "nofsc", *scenario.options, source=source)
        working = Working(mounted.path, names)
        stage = Stage(server, line, mounted, working)
        try:
            working.wait_turns(_BEFORE)
            descriptors, threads = stage.descriptors(), stage.threads()
            mark(stage, scenario)
            working.wait_turns(scenario.longest)
            turns = working.end(scenario.longest)
        finally:
            working.kill()
        wrong = [turn for turn in turns if turn.wrong]
        assert not wrong, wrong
        failed = [turn for turn in turns if turn.error and not _may_fail(scenario, turn)]
        assert not failed, f"{failed[:5]}\n{mounted.log_text()}"
        slow = [turn for turn in turns if turn.end - max(turn.begin, stage.end) > scenario.longest]
        assert not slow, f"{slow[:5]}\n{mounted.log_text()}"
        check_nothing_left(stage, descriptors, threads)

    return run


def _may_fail(scenario: Scenario, turn: Turn) -> bool:
    unsure = turn.load == "write" and turn.error == "EIO" and not scenario.lasting
    return unsure or turn.error in scenario.errors


def _of(scenario: Scenario) -> tuple[str, ...]:
    return scenario.loads or loads.NAMES


def _marks(scenario: Scenario) -> list[pytest.MarkDecorator]:
    return [pytest.mark.xfail(strict=True, reason=scenario.tardy)] if scenario.tardy else []


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=_marks(scenario))
        for name, scenario in SCENARIOS.items()
        if scenario.short
    ],
)
def test_a_fault_under_all_loads(play, name: str) -> None:
    play(SCENARIOS[name], _of(SCENARIOS[name]))


@pytest.mark.soak
@pytest.mark.parametrize(
    ("name", "load"),
    [
        pytest.param(name, load, marks=_marks(scenario))
        for name, scenario in SCENARIOS.items()
        for load in (*_of(scenario), "all")
        if not (scenario.short and load == "all")
    ],
)
def test_each_fault_under_each_load(play, name: str, load: str) -> None:
    play(SCENARIOS[name], _of(SCENARIOS[name]) if load == "all" else (load,))

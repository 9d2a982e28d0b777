"""Lets faults come over a run one after the other, and checks after each what has to hold."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from flows.runs.store_care import verify_store
from tests.chaos.checks import (
    check_complete,
    check_kept,
    check_same,
    count_again,
    count_rows,
    find_left_behind,
)
from tests.chaos.faults import Fault
from tests.chaos.scene import Scene, TooLate
from tests.chaos.stores import LocalFiles, Rows, read_exported
from tests.chaos.table import Line

_WORLDS = 3
"""In so many stores a fault may come too late; then its moment is one that never comes."""

_ENDINGS = 3

OpenScene = Callable[[Path, Random], AbstractContextManager[Scene]]


@dataclass(frozen=True, slots=True)
class Calm:
    """What a run leaves that nothing happens to."""

    rows: Rows
    exported: dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Course:
    """Faults that come over one store, in this order; over a new one once that is complete.

    ``open_scene`` makes a store and the run to come in an empty folder. ``calm`` is what must be
    there at the end, where an engine's answers are known. ``most_again`` bounds what one victim
    costs in requests.
    """

    name: str
    against: str
    open_scene: OpenScene
    faults: Sequence[Fault]
    calm: Callable[[], Calm] | None = None
    most_again: int = 0

    def run(
        self, chosen: Sequence[tuple[int, Fault]], seed: int, tell: Callable[[Line], None]
    ) -> None:
        """Let these of its faults come, by their numbers; ``tell`` hears what each came to.

        It hears of those of a store once all checks have passed there.
        """
        _run(self, list(chosen), seed, tell)


def _run(
    course: Course, waiting: list[tuple[int, Fault]], seed: int, tell: Callable[[Line], None]
) -> None:
    late = 0
    while waiting:
        with (
            TemporaryDirectory(prefix="oc-chaos-", dir="/tmp") as folder,
            course.open_scene(Path(folder), Random(f"{seed}/{course.name}/{late}")) as scene,
        ):
            passage = _Passage(course, scene, seed)
            try:
                done = passage.run(waiting)
            except BaseException:
                print(scene.read_words() if scene.errors.exists() else "", flush=True)
                raise
            finally:
                scene.close()
        for line in passage.lines:
            tell(line)
        late = 0 if done else late + 1
        assert late < _WORLDS, f"{waiting[0][1].kind}: its moment never comes"
        waiting = waiting[done:]


class _Passage:
    """Faults over one store, from its first run to its last."""

    def __init__(self, course: Course, scene: Scene, seed: int) -> None:
        self._course, self._scene, self._seed = course, scene, seed
        self.lines: list[Line] = []
        self._open: Line | None = None
        self._most_again = 0
        self._asked = 0
        self._struck: Rows = {}
        self._kept: Rows = {}
        self._began = time.monotonic()

    def run(self, waiting: Sequence[tuple[int, Fault]]) -> int:
        """Let faults come until the run is complete; return how many came in time."""
        came = 0
        for number, fault in waiting:
            seed = f"{self._seed}/{number}"
            self._scene.dice.seed(seed)
            line = Line(number, fault.kind, self._course.against, seed, fault.moment)
            try:
                self._let_come(fault, line)
            except TooLate:
                break
            came += 1
            if "exit 0" in line.went_on:
                break
        self._finish()
        return came

    def _let_come(self, fault: Fault, line: Line) -> None:
        scene = self._scene
        if fault.anew:
            scene.stop()
        if not scene.is_running:
            if scene.process is not None and scene.process.returncode == 0:
                raise TooLate
            scene.start(fault.fatal)
        if fault.strike is not None:
            fault.strike(scene)
        else:
            code = scene.await_end()
            if code == 0:
                raise TooLate
        self._close_line()
        self._open_line(fault, line)
        with suppress(TooLate):  # by itself, or not
            if fault.ends:
                scene.await_that(lambda: False, f"the end after {fault.kind}")
            scene.await_parts(2)
        line.went_on = "by itself"
        if scene.is_running:
            self._close_line()
        else:
            code = scene.await_end()
            by_itself = code == 0
            line.went_on = "by itself, exit 0" if by_itself else f"same command after exit {code}"
            if not by_itself:  # what it had begun may have come to its end meanwhile
                self._note_struck(line)

    def _open_line(self, fault: Fault, line: Line) -> None:
        self._open = line
        self._note_struck(line)
        most = fault.most_again
        self._most_again = self._course.most_again if most is None else most

    def _note_struck(self, line: Line) -> None:
        """Note what is committed; all of it was asked for by now."""
        self._look()
        self._struck = self._kept
        line.before = count_rows(self._kept)
        self._asked = len(self._scene.read_asked())

    def _close_line(self) -> None:
        """Complete the last line, now that something else happens."""
        line = self._open
        if line is None:
            return
        asked = self._scene.read_asked()
        self._look()
        if self._scene.ledger is not None:
            line.again = count_again(asked[: self._asked], asked[self._asked :], self._struck)
            assert line.again <= self._most_again, f"{line.again} requests were made again"
        line.after = count_rows(self._kept)
        now = time.monotonic()
        line.seconds, self._began = now - self._began, now
        self._open = None
        self.lines.append(line)

    def _look(self) -> None:
        """Check that what was committed is there as it was."""
        rows = self._scene.read_rows()
        check_kept(self._kept, rows)
        self._kept = rows

    def _finish(self) -> None:
        """Bring the run to its end, by the same command if need be, and check what is there."""
        scene, code = self._scene, 1
        if scene.process is not None and (scene.is_running or scene.process.returncode == 0):
            code = scene.await_end()
        for _ in range(_ENDINGS):
            if code == 0:
                break
            scene.start()
            code = scene.await_end()
        assert code == 0, f"the same command does not come to an end: exit {code}"
        self._close_line()
        self._look()
        check_complete(scene.read_result(), self._kept)
        if self._course.calm is not None:
            calm = self._course.calm()
            check_same(calm.rows, self._kept)
            assert read_exported(scene.files) == calm.exported
        if isinstance(scene.files, LocalFiles):
            verdict = verify_store(str(scene.files.root), lambda _: None)
            assert verdict.sound, verdict.faults
        left = find_left_behind(scene.temporary)
        assert not left, f"left behind in the temporary folder: {left}"

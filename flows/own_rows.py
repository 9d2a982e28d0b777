"""Says before a run which of the rows that people bring it will take."""

from __future__ import annotations

from collections.abc import Sequence

from flows.graph import Graph
from flows.prompt_samples import list_people
from flows.settings import Settings
from tasks.characters.sources import take_characters
from tasks.dialogues.sources import take_dialogues
from tasks.records import Character, Dialogue, Persona


def list_own_cast(
    settings: Settings, graph: Graph, personas: Sequence[Persona]
) -> Sequence[Character]:
    """Return the characters that the run will take for its personas; none if it writes them."""
    source = settings.characters.source
    if source is None:
        return ()
    return take_characters(source, personas, graph.characters.recipe).accepted


def list_own_dialogues(
    settings: Settings, graph: Graph, personas: Sequence[Persona], cast: Sequence[Character]
) -> Sequence[Dialogue]:
    """Return the dialogues that the run will take; none if its models play them.

    Without a cast, as before profiles are written, each persona stands for its character.
    """
    source = settings.dialogues.source
    if source is None:
        return ()
    people = list_people(personas, cast)
    return take_dialogues(source, people, graph.dialogues["given"].recipe).accepted

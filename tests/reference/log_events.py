"""The page docs/reference/log-events.md: every event of the table, how much it matters, and its fields."""

import io

from tests.kit import ManualClock
from tests.reference.writing import code, head, meanings, sentence, table
from tracer.events import FIELD_MEANINGS, FIELDS, LEVELS, Event, Level, What
from tracer.health.log import LONGEST_LINE_BYTES, QUIET_S, Log

_ABOUT = """
`tracer run` writes to standard error what happens to itself, one JSON object a line. Of single runs it writes only what is
lost, or cannot be read. `log.level` says how much of it is written.

```json
{example}
```

{shared}
A field of an event that had one of these names has a `_` at its end. A line has at most {longest:,} bytes: longer
texts are cut in their middle.

## Levels

{levels}
## Events

The name of an event does not change; the sentence may. A field is left out where there is nothing to say.

{events}
## Fields

{fields}"""
_SHARED = {
    "time": "when it was written, in UTC",
    "level": "how much it matters",
    "event": "what happened, by its name",
    "message": "a sentence for a person, with what varies",
    "repeats": f"how often the same was left out since it was written last, as it is written once in {QUIET_S:g} s at most",
    "dropped": "how many lines were left out before this one, as nobody took them",
}


def example() -> str:
    """Write a line as it is logged."""
    stream = io.StringIO()
    fields = {"kind": "Pod", "reason": "forbidden"}
    message = "The API server does not allow pods to be listed and watched (403): grant list and watch on pods."
    clock = ManualClock()
    clock.unix_ns = lambda: 1_787_220_000_250_000_000  # type: ignore[method-assign]
    Log(stream, Level.INFO, clock).report(Event(What.WATCH_FAILED, message, fields))
    return stream.getvalue().rstrip()


def page() -> str:
    """Write the page."""
    about, of_levels = meanings(What), meanings(Level)
    return head("Log events", "tracer/events.py") + _ABOUT.format(
        example=example(),
        longest=LONGEST_LINE_BYTES,
        shared=table(("on every line", ""), ((f"`{name}`", sentence(text)) for name, text in _SHARED.items())),
        levels=table(("level", ""), ((f"`{level}`", of_levels[level.name]) for level in Level)),
        events=table(
            ("event", "level", "fields", ""),
            (
                (f"`{what}`", f"`{LEVELS.get(what, Level.INFO)}`", code(FIELDS.get(what, ())), about[what.name])
                for what in sorted(What)
            ),
        ),
        fields=table(("field", ""), ((f"`{name}`", sentence(text)) for name, text in FIELD_MEANINGS.items())),
    )

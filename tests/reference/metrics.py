"""The page docs/reference/metrics.md: every metric of the table, with its labels and their values."""

from tests.reference.writing import code, head
from tracer.health.caps import FOLDED, MOST_PER_NAMESPACE
from tracer.health.families import FAMILIES, Family, Label

_ABOUT = f"""
`tracer run` serves them under `/metrics` on port 8080 (`--listen`), as text or, to whoever asks for it, as OpenMetrics with
examples: the ids of the trace and the span of the latest step, attempt or run in a series. How they are scraped stands in
[alerts](../alerts.md).

## About runs

Only the replica that leads has them; two that lead, without a Lease, have all of them twice. Each step, attempt and
PipelineRun is counted once, when it is judged, whether the backend is there or not, and whether or not it is traced: the
checkpoint remembers what was counted. After a `kill -9` what came after the last checkpoint is counted again, and what a
process counted after its last scrape is not seen. Where nobody knows what was counted, as at the first start, what had ended
before is not. A new process begins at 0, which `increase` and `rate` know how to handle. [Decision
0014](../decisions/0014-what-is-counted.md) says why.

The label `namespace` is the run's. `pipeline` and `task` are the names that the spans have: of a reference, a label, or a
`generateName`; empty where there is none.

Where users choose the names, series are limited: each metric has a most, and a namespace has {MOST_PER_NAMESPACE} of it for
sure, more while half of it is free. What is too much is counted under the name `{FOLDED}`, within its namespace if there is
room, so that sums stay right; `tracer_series_capped_total` says how often. A series that did not change for a day makes room
for a new one.
"""
_OURS = """\
## About the controller

Every replica has them.
"""


def page() -> str:
    """Write the page."""
    runs, ours = [one for one in FAMILIES if one.most], [one for one in FAMILIES if not one.most]
    return "\n".join(
        [
            head("Metrics", "tracer/health/families.py") + _ABOUT,
            *("| metric | labels | series at most | |", "|---|---|---|---|"),
            *(f"| {_name(one)} | {_labels(one)} | {one.most:,} | {one.help} |" for one in runs),
            "",
            _values(runs),
            _OURS,
            *("| metric | labels | |", "|---|---|---|"),
            *(f"| {_name(one)} | {_labels(one)} | {one.help} |" for one in ours),
            "",
            _values(ours).rstrip("\n"),
            "",
        ]
    )


def _name(family: Family) -> str:
    return f"`{family.name}`<br>{family.type}"


def _labels(family: Family) -> str:
    return code(label.name for label in family.labels)


def _values(families: list[Family]) -> str:
    """List the values that are known beforehand, and the bounds of buckets."""
    known: dict[Label, list[str]] = {}
    for family in families:
        for label in family.labels:
            if label.values:
                known.setdefault(label, []).append(family.name)
    bounds: dict[tuple[float, ...], list[str]] = {}
    for family in families:
        if family.buckets:
            bounds.setdefault(family.buckets, []).append(family.name)
    lines = [f"- `{label.name}` of {code(names)}: {code(label.values)}." for label, names in known.items()]
    lines += [
        f"- Buckets of {code(names)}: up to {', '.join(f'{bound:g}' for bound in found)} s." for found, names in bounds.items()
    ]
    return "\n".join([*lines, ""])

"""Which labels and annotations become which attributes, as the configuration says?

Keeps: a value is written under an allowed target alone, so no attribute of ours can be overridden; the order of mappings changes
nothing.
Must not know: any label or annotation that is not mapped.
Source: span-model 5.2, 8.1, 8.2, 10; operations.md S5.
"""

import re
from collections.abc import Iterable

from tracer.tekton import names
from tracer.tekton.meta import ObjectMeta
from tracer.telemetry import attributes as keys
from tracer.telemetry.records import AttributeValue

Mappings = tuple[tuple[str, str], ...]
"""The key of a label or annotation, and that of the attribute that it becomes."""

DEFAULT_MAPPINGS: Mappings = (
    (names.PIPELINES_AS_CODE + "repo-url", keys.REPOSITORY_URL),
    (names.PIPELINES_AS_CODE + "sha", keys.REF_REVISION),
    (names.PIPELINES_AS_CODE + "source-branch", keys.REF_NAME),
    (names.PIPELINES_AS_CODE + "pull-request", keys.CHANGE_ID),
    (names.PIPELINES_AS_CODE + "git-provider", keys.PROVIDER_NAME),
)

RUN = "RUN"
_ACTIONS = frozenset({RUN, "BUILD", "SYNC"})
_TASK_TYPES = frozenset({"build", "test", "deploy"})

_LEVELS = r"(?:\.[a-z][a-z0-9_]*)+"
_OF_RESOURCE = re.compile(rf"vcs{_LEVELS}|{re.escape(keys.ENVIRONMENT_NAME)}")
_OF_RUN_SPAN = re.compile(re.escape(keys.USER_PREFIX) + _LEVELS)
_TARGETS = (
    f"vcs.*, {keys.ENVIRONMENT_NAME}, {keys.PIPELINE_ACTION_NAME}, {keys.TASK_TYPE} and {keys.USER_PREFIX}.*, "
    "of small letters, digits, _ and dots"
)
# As Kubernetes has them: a DNS name before the slash, if there is one, and at most 63 characters after it.
_SOURCE = re.compile(
    r"(?:(?=[^/]{1,253}/)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*/)?"
    r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)


def mappings_error(mappings: Iterable[tuple[str, str]]) -> str | None:
    """Say in one sentence why mappings cannot be used; None if they can."""
    targets = set()
    for source, target in mappings:
        if _SOURCE.fullmatch(source) is None:
            return f"{source!r} is no key of a label or an annotation; give one such as {DEFAULT_MAPPINGS[0][0]}."
        if not _is_target(target):
            return f"{source} cannot be mapped to {target!r}; the targets are {_TARGETS}."
        if target in targets:
            return f"Two keys are mapped to {target}; leave one of them."
        targets.add(target)
    return None


def resource_values(top: ObjectMeta, mappings: Mappings) -> dict[str, AttributeValue | None]:
    """Say what a top run gives to the resource of every span in its trace."""
    return {target: top.says(source) for source, target in mappings if _OF_RESOURCE.fullmatch(target)}


def run_span_values(top: ObjectMeta, mappings: Mappings) -> dict[str, AttributeValue | None]:
    """Say what a top run gives to every run span in its trace, beside the action."""
    return {target: top.says(source) for source, target in mappings if _OF_RUN_SPAN.fullmatch(target)}


def action(top: ObjectMeta, mappings: Mappings) -> str:
    """Say what the runs of a trace do, in the convention's words; what the top run says in other words is none of them."""
    said = (_mapped_to(keys.PIPELINE_ACTION_NAME, top, mappings) or RUN).upper()
    return said if said in _ACTIONS else RUN


def task_type(task: ObjectMeta, mappings: Mappings) -> str | None:
    """Say of which type a task is, by its own object; None unless that is one of the convention's."""
    said = _mapped_to(keys.TASK_TYPE, task, mappings)
    return said if said in _TASK_TYPES else None


def _is_target(target: str) -> bool:
    return target in {keys.PIPELINE_ACTION_NAME, keys.TASK_TYPE} or any(
        where.fullmatch(target) is not None for where in (_OF_RESOURCE, _OF_RUN_SPAN)
    )


def _mapped_to(target: str, meta: ObjectMeta, mappings: Mappings) -> str | None:
    return next((said for source, known in mappings if known == target and (said := meta.says(source))), None)

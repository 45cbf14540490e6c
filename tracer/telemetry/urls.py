"""Which page shows an object? A URL template of the configuration, filled in with what the object is called.

Keeps: scheme and host are the configuration's own; what an object says is percent-encoded, and never changes where the URL leads.
Source: span-model 8.2, 10.
"""

import re
from urllib.parse import quote

from tracer.tekton.decode import kind_by_type
from tracer.tekton.pipelinerun import CustomRun, PipelineRun
from tracer.tekton.taskrun import TaskRun
from tracer.telemetry.records import TEXT_LIMIT_BYTES

PLACEHOLDERS = ("namespace", "name", "uid", "resource")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_ORIGIN = re.compile(r"https?://[^/?#@\\{}]+(?:[/?#]|\Z)")
_NOWHERE = {"", ".", ".."}  # a segment of a path that browsers take out, and no name that Kubernetes allows
_ALLOWED = "the placeholders are {namespace}, {name}, {uid} and {resource}"


def run_url_error(template: str) -> str | None:
    """Say in one sentence why a template cannot be used; None if it can. The empty one, for no URLs, can."""
    parts = _PLACEHOLDER.split(template)
    unknown = [name for name in parts[1::2] if name not in PLACEHOLDERS]
    if not template:
        return None
    if len(template) > TEXT_LIMIT_BYTES:
        return f"A URL template has at most {TEXT_LIMIT_BYTES} characters; {_ALLOWED}."
    if any("{" in literal or "}" in literal for literal in parts[::2]):
        return f"{template!r} has a brace without its other; {_ALLOWED}."
    if unknown:
        return f"{template!r} asks for {unknown[0]!r}; {_ALLOWED}."
    if _ORIGIN.match(template) is None or not _is_plain(template):
        return f"{template!r} is no URL that begins with http:// or https:// and a host, in ASCII without spaces; {_ALLOWED}."
    return None


def object_url(template: str, run: PipelineRun | TaskRun | CustomRun) -> str | None:
    """Fill a template in; None without one, if the object does not say what it asks for, or if the URL would have to be cut.

    A URL that is cut or has a hole leads nowhere, or elsewhere.
    """
    meta = run.metadata
    said = {"namespace": meta.namespace, "name": meta.name, "uid": meta.uid, "resource": kind_by_type(run).plural}
    parts = _PLACEHOLDER.split(template)
    if not template or any(said.get(name, "") in _NOWHERE for name in parts[1::2]):
        return None
    parts[1::2] = [quote(said[name], safe="", errors="replace") for name in parts[1::2]]
    url = "".join(parts)
    return url if len(url) <= TEXT_LIMIT_BYTES else None


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text

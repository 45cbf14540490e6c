"""Which values does the chart take below `config`? The schema of that part, made from the program's own table of settings."""

import json
from enum import StrEnum
from typing import Annotated, Any, Literal, get_args, get_origin

from tests.chart.rendering import CHART
from tests.kit import Json
from tracer.config import KEYS, Key
from tracer.telemetry.mappings import Mappings

SCHEMA = CHART / "values.schema.json"
_PLAIN = {bool: "boolean", int: "integer", str: "string"}


def config_schema() -> Json:
    """Write the schema of the program's configuration: what `tracer check` knows and nothing else."""
    whole = _section()
    for key in KEYS.values():
        *sections, name = key.name.split(".")
        inner = whole
        for section in sections:
            if section not in inner["properties"]:
                inner["properties"][section] = _section()
                inner["required"].append(section)
            inner = inner["properties"][section]
        inner["properties"][name] = {"description": key.about, **_type_schema(key.type)}
        if has_plain_default(key):
            inner["required"].append(name)
    return whole


def has_plain_default(key: Key) -> bool:
    """Say whether values.yaml can have a setting's default. Helm merges mappings, and pairs that are given replace ours."""
    return not _is_pairs(key.type)


def written() -> str:
    """Write the chart's whole schema, with this part as it is now."""
    whole = json.loads(SCHEMA.read_text())
    whole["properties"]["config"] = config_schema()
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def _section() -> Json:
    return {"type": "object", "additionalProperties": False, "required": [], "properties": {}}


def _is_pairs(of_type: Any) -> bool:  # noqa: ANN401 - a type form has no type
    return of_type == Mappings or (get_origin(of_type) is Annotated and _is_pairs(of_type.__origin__))


def _type_schema(of_type: Any) -> Json:  # noqa: ANN401 - a type form has no type
    arguments = get_args(of_type)
    if _is_pairs(of_type):
        return {"type": "object", "additionalProperties": {"type": "string"}}
    if get_origin(of_type) is Annotated:
        return _type_schema(arguments[0]) | _bounds(of_type)
    if get_origin(of_type) is Literal:
        return {"enum": [*arguments]}
    if get_origin(of_type) is tuple:
        return {"type": "array", "items": _type_schema(arguments[0])}
    if issubclass(of_type, StrEnum):
        return {"enum": [*of_type]}
    return {"type": _PLAIN[of_type]}


def _bounds(of_type: Any) -> Json:  # noqa: ANN401 - a type form has no type
    bounds: Json = {}
    for meta in of_type.__metadata__:
        said = {"pattern": meta.pattern, "exclusiveMinimum": meta.gt, "maximum": meta.le}
        bounds |= {name: value for name, value in said.items() if value is not None}
    return bounds

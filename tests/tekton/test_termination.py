"""Termination messages in all their forms."""

import base64
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracer.tekton.termination import TerminationMessage, parse_termination_message, write_termination_message

STARTED = "2026-08-20T10:00:07.412Z"


def entries(*pairs: tuple[str, str, object]) -> str:
    """Write entries as the entrypoint does."""
    return json.dumps([{"key": key, "value": value, "type": kind} for key, value, kind in pairs])


def packed(text: str) -> str:
    """Compress a message as Tekton does: raw DEFLATE, unpadded base64."""
    deflate = zlib.compressobj(wbits=-15)
    return "tknz:" + base64.b64encode(deflate.compress(text.encode()) + deflate.flush()).decode().rstrip("=")


@pytest.mark.row("O23")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(entries(("StartedAt", STARTED, 3)), TerminationMessage(STARTED), id="json"),
        pytest.param(packed(entries(("StartedAt", STARTED, 3))), TerminationMessage(STARTED), id="compressed"),
        pytest.param(entries(("StartedAt", STARTED, "InternalTektonResult")), TerminationMessage(STARTED), id="old type names"),
        pytest.param(
            entries(("Reason", "Skipped", 3), ("StartedAt", STARTED, 3), ("Reason", "Cancelled", 3)),
            TerminationMessage(STARTED, reason="Cancelled"),
            id="the last of a key wins",
        ),
        pytest.param(entries(("ExitCode", "-1", 3)), TerminationMessage(exit_code=-1), id="killed and continued"),
        pytest.param(
            entries(("StartedAt", STARTED, 3), ("StartedAt", "secret", 1), ("Reason", "Skipped", 4)),
            TerminationMessage(STARTED),
            id="a user's results named like Tekton's keys are not Tekton's words",
        ),
        pytest.param("[]", TerminationMessage(), id="a message that says nothing"),
        pytest.param(entries(("StartedAt", "soon", 3), ("ExitCode", "many", 3)), TerminationMessage(), id="values that are none"),
        pytest.param("", None, id="nothing"),
        pytest.param("killed by somebody", None, id="plain words"),
        pytest.param(entries(("StartedAt", STARTED, 3))[:-9], None, id="cut off by the kubelet"),
        pytest.param(packed(entries(("StartedAt", STARTED, 3)))[:-9], None, id="compressed and cut off"),
        pytest.param("tknz:***", None, id="no base64"),
        pytest.param("tknz:AAAA", None, id="no DEFLATE"),
        pytest.param(packed(entries(("StartedAt", STARTED, 3), ("pad", "x" * (2 << 20), 1))), None, id="a bomb"),
        pytest.param("[" * 100_000, None, id="nested without end"),
        pytest.param('[{"key": "StartedAt"}]', None, id="no value"),
        pytest.param("{}", None, id="no list"),
    ],
)
def test_parse(text: str, expected: TerminationMessage | None) -> None:
    """A message that can be read gives Tekton's own words; one that cannot is as if there were none."""
    assert parse_termination_message(text) == expected


@given(st.text())
def test_any_text_is_survived(text: str) -> None:
    """No text raises."""
    parse_termination_message(text)
    parse_termination_message("tknz:" + text)


@given(st.binary())
def test_any_compressed_bytes_are_survived(content: bytes) -> None:
    """No compressed text raises."""
    parse_termination_message("tknz:" + base64.b64encode(content).decode().rstrip("="))


@given(
    st.builds(
        TerminationMessage,
        st.sampled_from([None, STARTED]),
        st.one_of(st.none(), st.integers(-255, 255)),
        st.sampled_from([None, "Skipped"]),
    )
)
def test_what_is_written_is_read_back(message: TerminationMessage) -> None:
    """Reading what was written gives the same value."""
    assert parse_termination_message(write_termination_message(message)) == message

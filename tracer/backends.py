"""Which backend are the spans sent to? The only place that chooses one.

Must not know: what is sent, and when.
"""

from tracer.config import KEYS
from tracer.delivery.otlp_http import OtlpHttp
from tracer.delivery.outcome import Backend
from tracer.errors import InputError
from tracer.settings import Settings
from tracer.transport import Transport

_INSTALL = (
    "in a checkout by `.venv/bin/pip install --require-hashes -r requirements/jaeger.txt`, in an image as docs/jaeger.md says"
)


def backend_of(settings: Settings, transport: Transport) -> Backend:
    """Make the backend that was configured. Raises InputError if that cannot be, or can hardly be meant."""
    if settings.config.exporter == "jaeger":
        return _jaeger(settings, transport)
    source, chosen = settings.sources.get("jaeger.endpoint"), settings.sources.get("exporter")
    if source is not None and (chosen is None or chosen in KEYS["exporter"].also):  # those say it of other programs, too
        given = "nobody says that exporter is jaeger" if chosen is None else f"exporter is otlp ({chosen})"
        raise InputError(f"jaeger.endpoint is given ({source}), but {given}; give --exporter jaeger, or otlp if that is meant.")
    is_compressed = settings.config.otlp.compression == "gzip"
    return OtlpHttp(transport, settings.endpoint, settings.endpoint_name, is_compressed=is_compressed)


def _jaeger(settings: Settings, transport: Transport) -> Backend:
    try:
        from tracer.delivery.jaeger import JaegerThrift  # noqa: PLC0415 - an extra, which few have
    except ImportError as error:
        source = settings.sources["exporter"]
        raise InputError(f"exporter is jaeger ({source}), which takes the extra [jaeger]: install it {_INSTALL}.") from error
    return JaegerThrift(transport, settings.endpoint, settings.endpoint_name)

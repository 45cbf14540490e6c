"""Every row of the fault matrix: what fails, and what is at stake?

Keeps: a row has tests, which bear its name, or a reason why it has none yet.
"""

from dataclasses import dataclass

STAKES = {
    "L": "loss",
    "D": "a double",
    "C": "a crash or a hang",
    "W": "a wrong span",
    "S": "load on others",
    "T": "trust: what somebody sees or does that is not theirs",
}
AREAS = {"A": "The API server", "O": "Objects", "B": "The backend", "P": "The process", "L": "Load", "S": "Security"}

# Why some rows have no test: what they are about comes later.
SHARDS = "comes with sharding: one replica reads everything"
AUDIT = "comes with `audit`, which asks the backend for what it was sent"
DESTINATIONS = "comes with several destinations"
GRPC = "comes with gRPC: over HTTP a connection is kept for 300 s at most, and the next one is resolved anew"
DISK = "comes with the ledger on disk: nothing is written to a disk now"
MARKERS = "comes with the ledger on disk, which holds the marker; what cannot be read or written is left out today, by itself"
RELOAD = "comes with reload: a configuration is read at the start only"
AGAIN = "not yet: what was told to its end is not told again under the same UID, so what a run does a second time is not told"
ONE_BREAKS_ALL = "not yet: the whole kind waits and says why; only with `watch.namespaces` do the other namespaces go on"
LOGS = "comes with the logs of steps"
RESOURCES = "comes with pipelines as resources: nobody but whoever installs it names an address or a Secret today"
NO_WEBHOOK = "there is no admission webhook"
FILTERS = "comes with filters: no expression of a user is run"
A_DAY = "not yet: `make soak` lasts ten minutes"

# What is left out of rows that have tests.
THOUSANDS = "tried with 1,000; 20,000 in `python -m benchmarks firstsync`"
MINUTES = "tried for half a minute; for ten in `make soak`, at 1.4 million TaskRuns a day"
UNSEEN = "what was created and deleted inside one gap was never seen, so it is not even counted"
NETWORK = "only that the policy is there: a network plugin enforces it"
OLD_QUEUE = "what an old collector's queue has no room for it drops after its 202; it counts that itself (docs/jaeger.md)"
V1BETA1 = "a server that has only v1beta1 (Tekton before 0.44) is waited for, not read"


@dataclass(frozen=True, slots=True)
class Row:
    """A fault."""

    name: str
    stakes: str
    """Letters of STAKES."""
    fault: str
    """What fails, in a few words."""
    why_not: str = ""
    """Why there is no test of it; empty if there is one."""
    left_out: str = ""
    """What of it is not promised yet, though there is a test of the rest."""


ROWS = (
    Row("A1", "LW", "410 when a watch starts"),
    Row("A2", "LC", "410 in the middle of a stream"),
    Row("A3", "S", "the server closes the watch again and again"),
    Row("A4", "L", "a stream is cut inside a line, or comes in single bytes"),
    Row("A5", "C", "connections are reset, the server restarts"),
    Row("A6", "S", "429 with Retry-After"),
    Row("A7", "C", "5xx, or nobody listens, for long"),
    Row("A8", "C", "a list comes very slowly"),
    Row("A9", "L", "a connection dies without a word"),
    Row("A10", "W", "a second API server lags behind the first"),
    Row("A11", "S", "no bookmarks, or too many"),
    Row("A12", "L", "the version goes back: etcd was restored"),
    Row("A13", "W", "etcd was restored, and runs execute a second time under one UID", AGAIN),
    Row("A14", "C", "Tekton is not installed yet"),
    Row("A15", "LW", "Tekton is removed and comes back"),
    Row("A16", "WD", "v1beta1 and v1, both served", left_out=V1BETA1),
    Row("A17", "L", "a right is taken away and given back"),
    Row("A18", "C", "rights in some namespaces only"),
    Row("A19", "C", "the token expires"),
    Row("A20", "C", "the authority changes"),
    Row("A21", "WD", "our own clock is wrong and steps"),
    Row("A22", "W", "kinds come in any order"),
    Row("A23", "L", "a list expires between two pages"),
    Row("A24", "LC", "one object breaks the list for the server", ONE_BREAKS_ALL),
    Row("A25", "L", "lists can be streamed, or not"),
    Row("A26", "DL", "an old server ignores the shard selector", SHARDS),
    Row("O1", "C", "an object of some megabytes"),
    Row("O2", "C", "what should be there is null or missing"),
    Row("O3", "C", "fields, reasons and conditions that nobody knows"),
    Row("O4", "CL", "a field of a wrong type"),
    Row("O5", "W", "an end before its start"),
    Row("O6", "W", "a Pod is made again under the same name"),
    Row("O7", "W", "times in whole seconds, steps of no length"),
    Row("O8", "WL", "the same name with a new UID, while nobody watched"),
    Row("O9", "WL", "a run is deleted while it runs"),
    Row("O10", "L", "a run ends and is deleted at once", left_out=UNSEEN),
    Row("O11", "CL", "characters that no text should have"),
    Row("O12", "WD", "steps without a name, twice or in another order"),
    Row("O13", "L", "3,000 steps in one run"),
    Row("O14", "WD", "retries"),
    Row("O15", "CW", "a trace context that is none"),
    Row("O16", "W", "a trace context of somebody else"),
    Row("O17", "W", "owners that are missing or of another kind"),
    Row("O18", "D", "a run changes after its end"),
    Row("O19", "C", "a run that never ends"),
    Row("O20", "CW", "times beyond what can be written"),
    Row("O21", "W", "Pods that never ran, were evicted, or have sidecars"),
    Row("O22", "CS", "256 KiB of annotations"),
    Row("O23", "C", "JSON that is 100,000 levels deep"),
    Row("B1", "L", "the backend cannot be reached, also at the start"),
    Row("B2", "S", "the backend answers very slowly"),
    Row("B3", "L", "400 for one bad span among others"),
    Row("B4", "L", "401 or 403"),
    Row("B5", "L", "404, 405 or 415"),
    Row("B6", "L", "413: a request is too large"),
    Row("B7", "SL", "429 or 503 with Retry-After"),
    Row("B8", "LD", "500"),
    Row("B9", "L", "a part of a request is rejected"),
    Row("B10", "D", "the backend takes a request and hangs"),
    Row("B11", "D", "the backend takes a request and resets the connection"),
    Row("B12", "L", "a redirect"),
    Row("B13", "L", "200 with the page of a proxy"),
    Row("B14", "L", "the backend's name has no address, or a new one"),
    Row("B15", "L", "a certificate expires or is replaced"),
    Row("B16", "LC", "the backend is away for 8 hours"),
    Row("B17", "L", "the backend says that it stored what it did not", AUDIT),
    Row("B18", "LS", "one of two destinations is broken", DESTINATIONS),
    Row("B19", "S", "one replica of the backend gets everything", GRPC),
    Row("B20", "L", "an old Jaeger (Thrift over HTTP)", left_out=OLD_QUEUE),
    Row("P1", "LD", "SIGTERM while spans are sent"),
    Row("P2", "LD", "SIGKILL at any moment"),
    Row("P3", "L", "killed for its memory"),
    Row("P4", "C", "one object ends the process each time", MARKERS),
    Row("P5", "D", "a planned change of the leader"),
    Row("P6", "D", "the leader loses the API server, not the backend"),
    Row("P7", "DW", "two leaders: one was frozen beyond its Lease"),
    Row("P8", "CL", "the disk is full"),
    Row("P9", "C", "no folder can be written to"),
    Row("P10", "CL", "the ledger on disk is torn", DISK),
    Row("P11", "C", "the event loop stands still"),
    Row("P12", "C", "64 file descriptors, few processes"),
    Row("P13", "WD", "a new version, and back"),
    Row("P14", "C", "a bad configuration comes while it runs", RELOAD),
    Row("P15", "L", "a restart every 20 s under load"),
    Row("P16", "C", "neither API server nor backend at the start"),
    Row("P17", "DC", "a tenth of a processor"),
    Row("L1", "L", "10,000 TaskRuns in a minute"),
    Row("L2", "L", "100,000 ended runs at the start", left_out=THOUSANDS),
    Row("L3", "L", "100,000 ended runs, and the backend is away"),
    Row("L4", "L", "an hour of a million runs a day, with peaks", left_out=MINUTES),
    Row("L5", "C", "24 hours", A_DAY),
    Row("L6", "S", "one namespace makes nearly all runs"),
    Row("L7", "L", "50,000 runs are deleted at once"),
    Row("L8", "S", "410 on every watch at 100,000 objects"),
    Row("L9", "S", "thousands of names of steps"),
    Row("S1", "CS", "users' names make series without end"),
    Row("S2", "S", "one namespace floods the backend with spans"),
    Row("S3", "WT", "somebody else's trace context: spans in their trace, or a flag that hides a failure"),
    Row("S4", "LC", "a value that spoils a whole request"),
    Row("S5", "WT", "a label that poses as a key of ours"),
    Row("S6", "T", "secrets in params, environment, scripts, results, annotations"),
    Row("S7", "CT", "log lines that are bombs", LOGS),
    Row("S8", "T", "names that move the cursor of a terminal"),
    Row("S9", "T", "names that write log lines of their own"),
    Row("S10", "T", "names that write metrics of their own"),
    Row("S11", "T", "a resource's endpoint that is not its owner's", RESOURCES),
    Row("S12", "T", "a resource that names another namespace's Secret", RESOURCES),
    Row("S13", "T", "anybody reads the metrics", left_out=NETWORK),
    Row("S14", "CS", "connections that say nothing, nonsense, or too much"),
    Row("S15", "C", "an admission webhook that fails", NO_WEBHOOK),
    Row("S16", "T", "more rights than are needed"),
    Row("S17", "CT", "what is read runs code, or takes all memory"),
    Row("S18", "C", "an expression of a user that never ends", FILTERS),
    Row("S19", "T", "tokens and passwords that are shown"),
    Row("S20", "CL", "the Lease or the checkpoint holds nonsense"),
    Row("S21", "T", "tenants who see each other's traces", DESTINATIONS),
    Row("S22", "T", "a package that was swapped"),
    Row("S23", "T", "names that become markup or a script in a page, or an address that runs code"),
)
BY_NAME = {row.name: row for row in ROWS}

"""Which names do Tekton and Kubernetes use? Kinds, label and annotation keys, prefixes, reserved values."""

from enum import StrEnum

TEKTON_GROUP = "tekton.dev"
CORE_VERSION = "v1"
COORDINATION_VERSION = "coordination.k8s.io/v1"


class _Resource(StrEnum):
    """A kind, spelled as the API server spells it."""

    @property
    def plural(self) -> str:
        """The resource, as URLs name it."""
        return f"{self.lower()}s"


class Kind(_Resource):
    """The kinds of objects that are read, spelled as the API server spells them."""

    PIPELINE_RUN = "PipelineRun"
    TASK_RUN = "TaskRun"
    CUSTOM_RUN = "CustomRun"
    POD = "Pod"
    EVENT = "Event"
    NAMESPACE = "Namespace"


class OwnKind(_Resource):
    """The kinds of our own objects: one of each is read and replaced, and none is watched."""

    CONFIG_MAP = "ConfigMap"
    LEASE = "Lease"


RUN_KINDS = frozenset({Kind.PIPELINE_RUN, Kind.TASK_RUN, Kind.CUSTOM_RUN})

LABEL_PIPELINE = "tekton.dev/pipeline"
LABEL_PIPELINE_TASK = "tekton.dev/pipelineTask"
LABEL_TASK = "tekton.dev/task"
LABEL_TASK_RUN = "tekton.dev/taskRun"
LABEL_MEMBER_OF = "tekton.dev/memberOf"
MEMBER_OF_FINALLY = "finally"

ANNOTATION_PIPELINE_RUN_CONTEXT = "tekton.dev/pipelinerunSpanContext"
ANNOTATION_TASK_RUN_CONTEXT = "tekton.dev/taskrunSpanContext"
ANNOTATION_READY = "tekton.dev/ready"
READY = "READY"
READY_FIELD_PATH = f"metadata.annotations['{ANNOTATION_READY}']"
ANNOTATION_CANCEL = "tekton.dev/cancel"
ANNOTATION_SERVICE_NAMESPACE = "resource.opentelemetry.io/service.namespace"
ANNOTATION_SERVICE_VERSION = "resource.opentelemetry.io/service.version"
PIPELINES_AS_CODE = "pipelinesascode.tekton.dev/"

STEP_PREFIX = "step-"
CLUSTER_NAMESPACE = "kube-system"  # its UID stands for the cluster's (OpenTelemetry `k8s.cluster.uid`)

EVENT_SCHEDULED = "Scheduled"
EVENT_PULLING = "Pulling"
EVENT_PULLED = "Pulled"
EVENT_REASONS = frozenset({EVENT_SCHEDULED, EVENT_PULLING, EVENT_PULLED})

CONDITION_SUCCEEDED = "Succeeded"
CONDITION_POD_SCHEDULED = "PodScheduled"
CONDITION_DISRUPTION_TARGET = "DisruptionTarget"

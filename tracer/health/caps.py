"""Which series may there be, where others choose the names?

Keeps: there are never more than a metric may have, and one namespace leaves half of them to others; what is too much is put
together under the names `__other__`, within its namespace if there is room, so that sums stay right; what was quiet for a day
makes room.
Must not know: what is counted.
Source: operations 2.7, 4.2 (S1).
"""

from collections import Counter
from math import prod

from tracer.health.families import Family

MOST_PER_NAMESPACE = 200
IDLE_S = 86_400.0
FOLDED = "__other__"
_LOOK_AGAIN_S = 60.0  # whether something has become quiet: the names of an attack come by the thousand


class Caps:
    """Which sets of label values one metric has. The first label is the namespace."""

    def __init__(self, family: Family) -> None:
        """Begin with none."""
        self.capped = 0
        """How often something was put together with others."""
        values = [label.values for label in family.labels]
        self._is_name = [not known for known in values]
        last_resorts = prod(len(known) for known in values if known)
        self._most = family.most - last_resorts
        self._changed_s: dict[tuple[str, ...], float] = {}
        self._in_namespace = Counter[str]()
        self._folds = set[tuple[str, ...]]()
        """What stands for others, with names of its own or none."""
        self._looked_s = 0.0

    def admit(self, labels: tuple[str, ...], now_s: float) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Say which series stands for these label values, now that something changes; and which are to go to make room."""
        if labels in self._changed_s:
            self._changed_s[labels] = now_s
            return labels, []
        gone: list[tuple[str, ...]] = []
        if not self._has_room(labels[0]) and now_s - self._looked_s >= _LOOK_AGAIN_S:
            self._looked_s = now_s
            gone = self._expire(now_s)
        if self._has_room(labels[0]):
            self._in_namespace[labels[0]] += 1
            self._changed_s[labels] = now_s
            return labels, gone
        self.capped += 1
        of_namespace = self._folded(labels, keeps_namespace=True)
        is_room = self._count < self._most or of_namespace in self._folds
        series = of_namespace if is_room else self._folded(labels, keeps_namespace=False)
        self._folds.add(series)
        return series, gone

    @property
    def _count(self) -> int:
        return len(self._changed_s) + len(self._folds)

    def _has_room(self, namespace: str) -> bool:
        """Say whether there is room for one more; a namespace's share counts once the others need it."""
        return self._count < (self._most if self._in_namespace[namespace] < MOST_PER_NAMESPACE else self._most // 2)

    def _folded(self, labels: tuple[str, ...], *, keeps_namespace: bool) -> tuple[str, ...]:
        return tuple(
            FOLDED if is_name and not (keeps_namespace and number == 0) else value
            for number, (value, is_name) in enumerate(zip(labels, self._is_name, strict=True))
        )

    def _expire(self, now_s: float) -> list[tuple[str, ...]]:
        gone = [labels for labels, changed_s in self._changed_s.items() if now_s - changed_s >= IDLE_S]
        for labels in gone:
            del self._changed_s[labels]
        self._in_namespace -= Counter(labels[0] for labels in gone)
        return gone

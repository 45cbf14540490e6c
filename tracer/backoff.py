"""How long between tries? The one door to tenacity."""

from tenacity import AsyncRetrying, RetryCallState, wait_random_exponential

_FULL_JITTER = wait_random_exponential(multiplier=1, max=30)


_WATCH = wait_random_exponential(multiplier=0.8, max=30)


def watch_jitter_s(failures: int) -> float:
    """Choose a wait before a watch is opened again, as `full_jitter_s` does, from 0.8 s on. Source: client-go reflector.go."""
    return _drawn(_WATCH, failures)


def full_jitter_s(failures: int) -> float:
    """Choose a wait after so many failures in a row: up to 1 s after the first, twice that with each one more, never over 30 s.

    It is chosen at random from zero on, so that many who lost the same backend do not come back at the same moment.
    """
    return _drawn(_FULL_JITTER, failures)


def _drawn(strategy: wait_random_exponential, failures: int) -> float:
    state = RetryCallState(AsyncRetrying(), None, (), {})
    state.attempt_number = failures
    return strategy(state)

"""What a server tells Prometheus of its work."""

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
_REQUESTS = (1, 2, 4, 8, 16, 32)
_SAMPLES = (1, 10, 50, 100, 200, 400, 800, 1600, 3200, 6400)

CONTENT_TYPE = prometheus_client.CONTENT_TYPE_LATEST


class Telemetry:
  """Counters of one server, apart from any other's in the process."""

  def __init__(self):
    own = self._registry = CollectorRegistry()
    self.requests = Counter(
      "dicm_requests", "Answers to /score, by status.", ["status"], registry=own
    )
    self.latency = Histogram(
      "dicm_latency_seconds",
      "From the first byte of a request to its answer, if it was scored.",
      buckets=_SECONDS,
      registry=own,
    )
    self.batch_requests = Histogram(
      "dicm_batch_requests",
      "Requests that were scored in one call.",
      buckets=_REQUESTS,
      registry=own,
    )
    self.batch_samples = Histogram(
      "dicm_batch_samples",
      "Ads that were scored in one call.",
      buckets=_SAMPLES,
      registry=own,
    )
    self.funnel_requests = Counter(
      "dicm_funnel_requests",
      "Answers to /match and /rank, by path and status.",
      ["path", "status"],
      registry=own,
    )
    self.funnel_latency = Histogram(
      "dicm_funnel_latency_seconds",
      "From the first byte of a request to its answer, by path.",
      ["path"],
      buckets=_SECONDS,
      registry=own,
    )
    self.reloads = Counter(
      "dicm_reloads", "Bundles looked at, by result.", ["result"], registry=own
    )
    self.version = Gauge(
      "dicm_bundle", "1 for the bundle that answers.", ["digest"], registry=own
    )

  def observe_batch(self, requests: int, samples: int) -> None:
    self.batch_requests.observe(requests)
    self.batch_samples.observe(samples)

  def serves(self, digest: str) -> None:
    """Says which bundle answers from now on."""
    self.version.clear()
    self.version.labels(digest).set(1)

  def text(self) -> bytes:
    """All of it, as Prometheus reads it."""
    return prometheus_client.generate_latest(self._registry)

"""The dashboard of the gateways: traffic, errors, latency, batching."""

from typing import Final

from load.dashboards.panel import RATE_INTERVAL, Dashboard, Panel, Query


def _rate(metric: str, by: str, more: str = "") -> str:
    return f"sum by ({by}) (rate(turpin_{metric}{more}[{RATE_INTERVAL}]))"


def _quantile(share: float, metric: str, by: str = "") -> str:
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({share:g}, {_rate(f'{metric}_bucket', labels)})"


DASHBOARD: Final = Dashboard(
    uid="turpin-gateway",
    title="Turpin: gateway",
    question="Is it well: traffic, errors, latency, batching?",
    by_experiment=False,
    panels=(
        Panel(
            "Gateways up",
            "That Prometheus reaches.",
            [Query('sum(up{job="turpin"})', "gateways")],
            kind="stat",
            width=4,
            height=4,
        ),
        Panel(
            "Store",
            "1: it answers all gateways. 0: predictions go on with the last weights, rewards wait in files of the gateways.",
            [Query("min(turpin_store_up)", "store")],
            kind="stat",
            width=4,
            height=4,
        ),
        Panel(
            "Weights are this old",
            "A leader renews them each second.",
            [Query("max by (experiment) (turpin_snapshot_age_seconds)", "{{experiment}}")],
            unit="s",
            kind="stat",
            width=4,
            height=4,
        ),
        Panel(
            "Errors",
            "Of all requests; what clients did wrong is not among them.",
            [
                Query(
                    'sum(rate(turpin_requests_total{code=~"unavailable|internal|deadline|backend|unknown"}'
                    f"[{RATE_INTERVAL}]) or vector(0)) / sum(rate(turpin_requests_total[{RATE_INTERVAL}]))",
                    "errors",
                )
            ],
            unit="percentunit",
            kind="stat",
            width=4,
            height=4,
        ),
        Panel(
            "What the gateway adds",
            "The 99th percentile of the time that is neither queue nor model server.",
            [Query(_quantile(0.99, "overhead_seconds"), "99 %")],
            unit="s",
            kind="stat",
            width=4,
            height=4,
        ),
        Panel(
            "Version",
            "Two at a time while gateways are being replaced.",
            [Query("max by (version) (turpin_build_info)", "{{version}}")],
            kind="stat",
            names=True,
            width=4,
            height=4,
        ),
        Panel(
            "Requests by outcome",
            "ok, or the label of the error.",
            [Query(_rate("requests_total", "code"), "{{code}}")],
            unit="reqps",
            stack="normal",
        ),
        Panel(
            "Latency",
            "Of answered requests, by front.",
            [
                Query(_quantile(0.5, "request_duration_seconds", "front"), "{{front}} 50 %"),
                Query(_quantile(0.99, "request_duration_seconds", "front"), "{{front}} 99 %"),
            ],
            unit="s",
        ),
        Panel(
            "Latency of model servers",
            "The 99th percentile of their calls, by version.",
            [
                Query(
                    _quantile(0.99, "backend_duration_seconds", "backend, model, version"),
                    "{{backend}} {{model}}/{{version}}",
                )
            ],
            unit="s",
        ),
        Panel(
            "Rows per batch",
            "What was sent, and what a batch may have, as learned.",
            [
                Query(
                    f"{_rate('batch_rows_sum', 'backend')} / {_rate('batch_rows_count', 'backend')}", "{{backend}} sent"
                ),
                Query(
                    "min by (backend, model, version) (turpin_batch_limit_rows)",
                    "{{backend}} {{model}}/{{version}} may have",
                ),
            ],
            log=True,
        ),
        Panel(
            "Time in the queue",
            "While all places at a model server are taken, requests wait and batches grow.",
            [
                Query(_quantile(0.5, "batch_wait_seconds", "backend"), "{{backend}} 50 %"),
                Query(_quantile(0.99, "batch_wait_seconds", "backend"), "{{backend}} 99 %"),
            ],
            unit="s",
        ),
        Panel(
            "Calls under way",
            "To model servers.",
            [Query("sum by (backend) (turpin_batches_in_flight)", "{{backend}}")],
        ),
        Panel(
            "Refused, late, sent again",
            "Shed: more came than could be answered. Late: by where the time ran out. Sent again: a replica had failed.",
            [
                Query(_rate("shed_total", "reason"), "shed: {{reason}}"),
                Query(_rate("deadline_exceeded_total", "stage"), "late: {{stage}}"),
                Query(_rate("retries_total", "experiment"), "sent again: {{experiment}}"),
            ],
            unit="reqps",
        ),
        Panel(
            "Replicas taken out, lines lost",
            "Ejections of model servers, and lines the journal had no room for.",
            [
                Query(_rate("backend_ejections_total", "backend"), "ejections of {{backend}}"),
                Query(_rate("journal_dropped_total", "reason"), "journal: {{reason}}"),
            ],
            unit="ops",
        ),
        Panel(
            "Memory of the control process",
            "Of each gateway.",
            [Query('process_resident_memory_bytes{job="turpin"}', "{{instance}}")],
            unit="bytes",
        ),
    ),
)

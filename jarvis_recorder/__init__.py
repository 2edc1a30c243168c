"""The memory of a cluster's assistant: from RabbitMQ topics to SQLite, nothing lost."""

__version__ = "0.1.0"

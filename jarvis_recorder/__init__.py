"""The memory of a cluster's assistant: from RabbitMQ topics to a database, nothing lost."""

__version__ = "0.1.0"

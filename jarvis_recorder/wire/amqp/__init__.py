"""AMQP 0-9-1 properties and deliveries."""

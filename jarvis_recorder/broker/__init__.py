"""RabbitMQ, and nothing of what its messages mean. The only room that knows aio-pika."""

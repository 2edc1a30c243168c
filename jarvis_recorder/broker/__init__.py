"""RabbitMQ, without the meaning of its messages. The only package that imports aio-pika."""

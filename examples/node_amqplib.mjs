// Publish an event and read the latest ones, with amqplib on Node.js.
//
//     npm install --prefix examples
//     node examples/node_amqplib.mjs [amqp://user:password@host:5672/]

import { randomUUID } from 'node:crypto';
import amqp from 'amqplib';

const url = process.argv[2] ?? process.env.AMQP_URL ?? 'amqp://guest:guest@localhost:5672/';
const TIMEOUT_MS = 5000;

const connection = await amqp.connect(url);

await publishEvent({
  type: 'alert',
  severity: 'warning',
  source: 'monitor',
  node: 'pve1',
  summary: 'cpu of pve1 above 90 %',
});

const { events } = await ask('events.list', { node: 'pve1', limit: 5 });
for (const event of events) {
  console.log(event.timestamp, event.severity, event.summary);
}
await connection.close();

// Resolves once the broker has the event on disk: from then on it will be recorded.
async function publishEvent(event) {
  const channel = await connection.createConfirmChannel();
  const now = new Date();
  const messageId = randomUUID();
  let returned = false;
  channel.on('return', () => (returned = true)); // it comes before the confirm
  channel.publish(
    'jarvis',
    `cluster.event.${event.type}.${event.severity}`,
    Buffer.from(JSON.stringify({ ...event, timestamp: now.toISOString() })),
    {
      contentType: 'application/json',
      messageId, // by this and its time it is recorded once, however often it is published
      timestamp: Math.floor(now / 1000),
      persistent: true,
      mandatory: true,
    },
  );
  await channel.waitForConfirms();
  await channel.close();
  if (returned) throw new Error('no queue takes it: has a recorder ever run on this broker?');
  console.log('published', messageId);
}

// Asks one question over direct reply-to, and resolves with its result.
async function ask(method, params) {
  const channel = await connection.createChannel();
  const correlationId = randomUUID();
  let resolve;
  let reject;
  const replied = new Promise((...both) => ([resolve, reject] = both));
  const timer = setTimeout(() => reject(new Error(`${method}: no answer`)), TIMEOUT_MS);
  // Before asking, on the same channel, and without acks: RabbitMQ wants it so.
  await channel.consume(
    'amq.rabbitmq.reply-to',
    (message) => {
      if (message?.properties.correlationId === correlationId) resolve(JSON.parse(message.content));
    },
    { noAck: true },
  );
  channel.publish(
    'jarvis.rpc',
    'recorder',
    Buffer.from(JSON.stringify({ jsonrpc: '2.0', id: 1, method, params })),
    {
      contentType: 'application/json',
      replyTo: 'amq.rabbitmq.reply-to',
      correlationId,
      expiration: TIMEOUT_MS, // the recorder answers within it, or not at all
    },
  );
  const { result, error } = await replied;
  clearTimeout(timer);
  await channel.close();
  if (error) throw new Error(`${method}: ${error.message}`);
  return result;
}

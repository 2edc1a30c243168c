// The same in Node.js with amqplib: `npm ci`, then `node node_amqplib.mjs amqp://localhost/`.

import { randomUUID } from "node:crypto";
import amqplib from "amqplib";

const connection = await amqplib.connect(process.argv[2]);

// An event, with confirms: once `waitForConfirms` returns, the broker has it on disk.
const events = await connection.createConfirmChannel();
const event = {
  type: "alert",
  severity: "critical",
  source: "monitor",
  node: "pve1",
  summary: "pve1 changed from online to offline",
  timestamp: new Date().toISOString(),
};
events.publish("jarvis", "cluster.event.alert.critical", Buffer.from(JSON.stringify(event)), {
  messageId: randomUUID(),
  contentType: "application/json",
  persistent: true,
});
await events.waitForConfirms();

// A request: JSON-RPC 2.0, the reply by the broker's direct reply-to on the same channel.
const channel = await connection.createChannel();
const reply = new Promise((resolve) => {
  channel.consume("amq.rabbitmq.reply-to", (message) => resolve(JSON.parse(message.content)), {
    noAck: true,
  });
});
const request = { jsonrpc: "2.0", method: "events.list", params: { node: "pve1" }, id: 1 };
channel.publish("jarvis.rpc", "recorder", Buffer.from(JSON.stringify(request)), {
  replyTo: "amq.rabbitmq.reply-to",
  correlationId: "1",
  expiration: "5000",
});
for (const found of (await reply).result.events) {
  console.log(found.timestamp, found.severity, found.summary);
}
await connection.close();

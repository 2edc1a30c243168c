// Asks the requests on standard input, one a line, through amqplib; prints the replies.

import { createRequire } from "node:module";
import readline from "node:readline";

const [url, directory] = process.argv.slice(2);
const amqplib = createRequire(`${directory}/`)("amqplib");
const connection = await amqplib.connect(url);
const channel = await connection.createChannel();
const waiting = new Map();

await channel.consume(
  "amq.rabbitmq.reply-to",
  (message) => waiting.get(message.properties.correlationId)(message.content.toString()),
  { noAck: true },
);

let number = 0;
for await (const request of readline.createInterface({ input: process.stdin })) {
  const correlationId = `${number++}`;
  const reply = new Promise((resolve) => waiting.set(correlationId, resolve));
  channel.publish("jarvis.rpc", "recorder", Buffer.from(request), {
    replyTo: "amq.rabbitmq.reply-to",
    correlationId,
    expiration: "5000",
  });
  console.log(await reply);
}
await connection.close();

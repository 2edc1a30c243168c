// Peer c: amqplib and better-sqlite3; a batch is committed when it is full or nothing more comes.

import amqplib from "amqplib";
import Database from "better-sqlite3";

const job = JSON.parse(process.argv[2]);
const IDLE_MILLISECONDS = 20;

const database = new Database(job.database);
for (const pragma of job.pragmas) database.exec(pragma);
const insert = database.prepare(job.insert);
const store = database.transaction((rows) => {
  for (const row of rows) insert.run(row);
});

const connection = await amqplib.connect(job.url);
const channel = await connection.createChannel();
await channel.prefetch(job.prefetch);

let rows = [];
let last = null;
let idle = null;

function row(message) {
  const event = JSON.parse(message.content);
  return [
    message.properties.messageId ?? null,
    // Whole milliseconds are all that the bench sends.
    Date.parse(event.timestamp) * 1000,
    0,
    event.type,
    event.severity,
    event.source,
    event.node ?? null,
    event.summary,
    event.details === undefined ? null : JSON.stringify(event.details),
    event.cluster || null,
    null,
    Date.now() * 1000,
  ];
}

function commit() {
  store(rows);
  channel.ack(last, true);
  rows = [];
}

function commitWhenIdle() {
  if (rows.length > 0) commit();
  idle = null;
}

await channel.consume(job.queue, (message) => {
  rows.push(row(message));
  last = message;
  if (rows.length >= job.batch) commit();
  if (idle === null) idle = setTimeout(commitWhenIdle, IDLE_MILLISECONDS);
  else idle.refresh();
});

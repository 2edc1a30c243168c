#!/bin/sh
# Publish an event and ask a question from a shell, with amqp-tools (apt install amqp-tools).
#
#     examples/shell_amqp_tools.sh [amqp://user:password@host:5672]
set -eu

url=${1:-${AMQP_URL:-amqp://guest:guest@localhost:5672}}
url=${url%/} # librabbitmq takes a slash at the end for a virtual host without a name

# amqp-publish sets no message_id, so the event carries its identity itself. Nor does it wait for
# a confirm: its success means "sent". What must not be lost wants a client that confirms.
id=$(cat /proc/sys/kernel/random/uuid)
now=$(date --utc +%Y-%m-%dT%H:%M:%S.%6NZ)
amqp-publish --url="$url" --exchange=jarvis --routing-key=cluster.event.alert.warning \
    --persistent --content-type=application/json --body="{
  \"id\": \"$id\", \"timestamp\": \"$now\", \"type\": \"alert\", \"severity\": \"warning\",
  \"source\": \"monitor\", \"node\": \"pve1\", \"summary\": \"cpu of pve1 above 90 %\"
}"
echo "published $id"

# Direct reply-to wants one channel for question and reply, and these tools open one each: so the
# reply goes to a queue of our own. The recorder replies only to names that begin like this one.
reply_to=jarvis.reply.$(cat /proc/sys/kernel/random/uuid)
amqp-declare-queue --url="$url" --queue="$reply_to" --durable >/dev/null
trap 'amqp-delete-queue --url="$url" --queue="$reply_to" >/dev/null' EXIT

# There is no correlation_id here either: nobody else's reply comes to this queue.
amqp-publish --url="$url" --exchange=jarvis.rpc --routing-key=recorder \
    --content-type=application/json --reply-to="$reply_to" --body='{
  "jsonrpc": "2.0", "id": 1, "method": "events.list", "params": {"node": "pve1", "limit": 5}
}'
timeout 5 amqp-consume --url="$url" --queue="$reply_to" --count=1 cat || {
    echo "no answer: does a recorder run on this broker?" >&2
    exit 69
}
echo

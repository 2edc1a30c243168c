#!/bin/sh
# The same from the shell with amqp-tools: `shell_amqp_tools.sh amqp://localhost/`.
set -eu
# A slash at the end would name a virtual host of no name.
url=${1%/}

# An event. The tools set no message_id, so the body gives itself an identity.
amqp-publish --url="$url" -e jarvis -r cluster.event.alert.critical -C application/json -p \
    -b '{"id":"shell-1","type":"alert","severity":"critical","source":"monitor","node":"pve1",
         "summary":"pve1 changed from online to offline","timestamp":"2026-11-23T08:00:00Z"}'

# A request: a reply queue of one's own, whose name begins with jarvis.reply. Durable, because
# newer brokers refuse others that are not exclusive; and deleted, whatever comes.
replies=jarvis.reply.shell.$$
amqp-declare-queue --url="$url" -d -q "$replies" >/dev/null
trap 'amqp-delete-queue --url="$url" -q "$replies" >/dev/null' EXIT
amqp-publish --url="$url" -e jarvis.rpc -r recorder -t "$replies" \
    -b '{"jsonrpc":"2.0","method":"events.list","params":{"node":"pve1"},"id":1}'
timeout 10 amqp-consume --url="$url" -q "$replies" -c 1 cat || {
    echo "no answer: does a recorder run on this broker?" >&2
    exit 69
}
echo

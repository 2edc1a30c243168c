/* Peer d: librabbitmq that stores nothing: a ceiling for any consumer on this broker. */

#if __has_include(<rabbitmq-c/amqp.h>)
#include <rabbitmq-c/amqp.h>
#include <rabbitmq-c/tcp_socket.h>
#else
#include <amqp.h>
#include <amqp_tcp_socket.h>
#endif
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static void must(int sound, const char *what) {
  if (!sound) {
    fprintf(stderr, "%s failed\n", what);
    exit(1);
  }
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
  must(argc == 6, "consume URL QUEUE COUNT BATCH PREFETCH");
  struct amqp_connection_info address;
  must(amqp_parse_url(argv[1], &address) == AMQP_STATUS_OK, "reading the URL");
  const long count = atol(argv[3]);
  const long batch = atol(argv[4]);

  amqp_connection_state_t connection = amqp_new_connection();
  amqp_socket_t *socket = amqp_tcp_socket_new(connection);
  must(socket != NULL, "making a socket");
  must(amqp_socket_open(socket, address.host, address.port) == AMQP_STATUS_OK, "connecting");
  must(amqp_login(connection, "/", 0, 131072, 0, AMQP_SASL_METHOD_PLAIN, address.user,
                  address.password)
               .reply_type == AMQP_RESPONSE_NORMAL,
       "login");
  amqp_channel_open(connection, 1);
  amqp_basic_qos(connection, 1, 0, (uint16_t)atoi(argv[5]), 0);
  amqp_basic_consume(connection, 1, amqp_cstring_bytes(argv[2]), amqp_empty_bytes, 0, 0, 0,
                     amqp_empty_table);
  must(amqp_get_rpc_reply(connection).reply_type == AMQP_RESPONSE_NORMAL, "consuming");

  double began = 0;
  for (long taken = 1; taken <= count; taken++) {
    amqp_envelope_t envelope;
    amqp_maybe_release_buffers(connection);
    must(amqp_consume_message(connection, &envelope, NULL, 0).reply_type == AMQP_RESPONSE_NORMAL,
         "taking a message");
    if (began == 0) began = now();
    if (taken % batch == 0 || taken == count)
      must(amqp_basic_ack(connection, 1, envelope.delivery_tag, 1) == 0, "ack");
    amqp_destroy_envelope(&envelope);
  }
  printf("{\"seconds\": %.6f}\n", now() - began);
  amqp_connection_close(connection, AMQP_REPLY_SUCCESS);
  amqp_destroy_connection(connection);
  return 0;
}

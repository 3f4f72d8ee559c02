/* A model server that costs almost nothing, for `make bench`: gRPC over libnghttp2, one thread, no model.
 *
 * backend COLUMNS VERSIONS [PATH FILE]...: its address goes to stdout, and at SIGTERM what has come, as JSON. Predict is
 * answered with the first COLUMNS numbers of each row (0: all of them); each PATH with what its FILE holds.
 *
 * A server in Python took 2,700 calls a second, so that an Envoy before it had nothing to do for half of the time, and each
 * call had to wake it: 193 us instead of 30. This one takes 130,000. It trusts its clients: it is for a bench on loopback.
 */
#define _GNU_SOURCE /* accept4 */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "predict.h"

enum {
  EVENTS = 256,
  READ_BYTES = 1 << 18,
  CANNED_MAX = 8,
  PREFIX_BYTES = 5, /* of a gRPC message: whether it is compressed, and its length */
  /* Larger than any message of a bench: nobody waits for a window. */
  WINDOW_BYTES = 1 << 30,
  STREAMS_MAX = 1 << 20,
};

struct canned {
  const char *path;
  struct bytes body;
};

static struct canned canned[CANNED_MAX];
static int canned_count;
static int64_t columns, versions;
static long long calls, rows;

struct call {
  struct call *next, *previous;
  char path[128];
  struct buffer request, answer;
  size_t sent;
  int status; /* gRPC's */
};

struct connection {
  struct connection *next, *previous;
  int fd;
  int events; /* that epoll watches for */
  nghttp2_session *session;
  struct call calls; /* under way, as a ring */
  struct buffer out;
  size_t written;
};

/* The head of the ring of all. */
static struct connection connections = {.next = &connections, .previous = &connections};

static void die(const char *what) {
  perror(what);
  exit(1);
}

#define FIELD(name, value) \
  { (uint8_t *)(name), (uint8_t *)(value), sizeof(name) - 1, sizeof(value) - 1, NGHTTP2_NV_FLAG_NONE }

static const nghttp2_nv HEAD[] = {FIELD(":status", "200"), FIELD("content-type", "application/grpc")};

static void trailers(nghttp2_session *session, int32_t stream, int status) {
  char text[12];
  int size = snprintf(text, sizeof text, "%d", status);
  nghttp2_nv field = {(uint8_t *)"grpc-status", (uint8_t *)text, 11, (size_t)size, NGHTTP2_NV_FLAG_NONE};
  nghttp2_submit_trailer(session, stream, &field, 1);
}

static ssize_t read_answer(nghttp2_session *session, int32_t stream, uint8_t *to, size_t most, uint32_t *flags,
                           nghttp2_data_source *source, void *user) {
  (void)user;
  struct call *call = source->ptr;
  size_t left = call->answer.size - call->sent, size = left < most ? left : most;
  memcpy(to, call->answer.data + call->sent, size);
  call->sent += size;
  if (size == left) {
    *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
    trailers(session, stream, call->status);
  }
  return (ssize_t)size;
}

/* Write the answer to a whole request behind a prefix; its length is known then. */
static void answer(struct call *call) {
  struct bytes body = {call->request.data, call->request.size};
  static const uint8_t prefix[PREFIX_BYTES];
  append(&call->answer, prefix, PREFIX_BYTES);
  call->status = 12; /* UNIMPLEMENTED */
  if (strcmp(call->path, "/tensorflow.serving.PredictionService/Predict") == 0) {
    int64_t found = body.size < PREFIX_BYTES
                        ? -1
                        : predict((struct bytes){body.data + PREFIX_BYTES, body.size - PREFIX_BYTES}, columns, versions,
                                  &call->answer);
    call->status = found < 0 ? 3 : 0; /* INVALID_ARGUMENT, OK */
    calls += found >= 0;
    rows += found < 0 ? 0 : found;
  }
  for (int i = 0; i < canned_count; i++)
    if (strcmp(call->path, canned[i].path) == 0) {
      append(&call->answer, canned[i].body.data, canned[i].body.size);
      call->status = 0;
    }
  if (call->status) {
    call->answer.size = 0;
    return;
  }
  uint32_t size = htonl((uint32_t)(call->answer.size - PREFIX_BYTES));
  memcpy(call->answer.data + 1, &size, sizeof size);
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user) {
  struct connection *connection = user;
  struct call *call = calloc(1, sizeof *call);
  if (!call) die("calloc");
  call->next = &connection->calls;
  call->previous = connection->calls.previous;
  call->previous->next = call->next->previous = call;
  return nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, call);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_size,
                     const uint8_t *value, size_t value_size, uint8_t flags, void *user) {
  (void)flags, (void)user;
  struct call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
  if (call && name_size == 5 && memcmp(name, ":path", 5) == 0 && value_size < sizeof call->path)
    memcpy(call->path, value, value_size);
  return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data, size_t size,
                   void *user) {
  (void)flags, (void)user;
  struct call *call = nghttp2_session_get_stream_user_data(session, stream);
  if (call) append(&call->request, data, size);
  return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user) {
  (void)user;
  if (!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) return 0;
  struct call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
  if (!call) return 0;
  answer(call);
  nghttp2_data_provider provider = {.source = {.ptr = call}, .read_callback = read_answer};
  return nghttp2_submit_response(session, frame->hd.stream_id, HEAD, sizeof HEAD / sizeof *HEAD, &provider);
}

static void forget(struct call *call) {
  call->previous->next = call->next;
  call->next->previous = call->previous;
  free(call->request.data);
  free(call->answer.data);
  free(call);
}

static int on_close(nghttp2_session *session, int32_t stream, uint32_t code, void *user) {
  (void)code, (void)user;
  struct call *call = nghttp2_session_get_stream_user_data(session, stream);
  if (call) forget(call);
  return 0;
}

static void disconnect(struct connection *connection) {
  while (connection->calls.next != &connection->calls) forget(connection->calls.next);
  connection->previous->next = connection->next;
  connection->next->previous = connection->previous;
  nghttp2_session_del(connection->session);
  close(connection->fd);
  free(connection->out.data);
  free(connection);
}

static void watch(int epoll, struct connection *connection, int events) {
  if (connection->events == events) return;
  struct epoll_event event = {.events = (uint32_t)events, .data.ptr = connection};
  if (epoll_ctl(epoll, connection->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, connection->fd, &event)) die("epoll_ctl");
  connection->events = events;
}

static void accept_one(int epoll, int listener, const nghttp2_session_callbacks *callbacks) {
  int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), on = 1;
  if (fd < 0) return;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  struct connection *connection = calloc(1, sizeof *connection);
  if (!connection) die("calloc");
  connection->fd = fd;
  connection->next = &connections;
  connection->previous = connections.previous;
  connection->previous->next = connections.previous = connection;
  connection->calls.next = connection->calls.previous = &connection->calls;
  if (nghttp2_session_server_new(&connection->session, callbacks, connection)) die("nghttp2_session_server_new");
  nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW_BYTES},
                                       {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, STREAMS_MAX}};
  nghttp2_submit_settings(connection->session, NGHTTP2_FLAG_NONE, settings, sizeof settings / sizeof *settings);
  nghttp2_session_set_local_window_size(connection->session, NGHTTP2_FLAG_NONE, 0, WINDOW_BYTES);
  watch(epoll, connection, EPOLLIN);
}

/* Read what is there and write what is due, in one piece; nonzero when the connection is over. */
static int serve(int epoll, struct connection *connection) {
  static uint8_t in[READ_BYTES];
  ssize_t size = read(connection->fd, in, sizeof in);
  if (size == 0 || (size < 0 && errno != EAGAIN)) return -1;
  if (size > 0 && nghttp2_session_mem_recv(connection->session, in, (size_t)size) < 0) return -1;
  for (const uint8_t *data; (size = nghttp2_session_mem_send(connection->session, &data)) > 0;)
    append(&connection->out, data, (size_t)size);
  if (size < 0) return -1;
  while (connection->written < connection->out.size) {
    size = write(connection->fd, connection->out.data + connection->written,
                 connection->out.size - connection->written);
    if (size < 0) {
      if (errno != EAGAIN) return -1;
      watch(epoll, connection, EPOLLIN | EPOLLOUT);
      return 0;
    }
    connection->written += (size_t)size;
  }
  connection->written = connection->out.size = 0;
  watch(epoll, connection, EPOLLIN);
  return nghttp2_session_want_read(connection->session) || nghttp2_session_want_write(connection->session) ? 0 : -1;
}

static int listen_on_loopback(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) || listen(listener, 1024) ||
      getsockname(listener, (struct sockaddr *)&address, &size))
    die("listen");
  printf("127.0.0.1:%d\n", ntohs(address.sin_port));
  fflush(stdout);
  return listener;
}

static int ended(void) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigprocmask(SIG_BLOCK, &signals, NULL);
  return signalfd(-1, &signals, SFD_CLOEXEC);
}

static nghttp2_session_callbacks *callbacks_of_calls(void) {
  nghttp2_session_callbacks *callbacks;
  if (nghttp2_session_callbacks_new(&callbacks)) die("nghttp2_session_callbacks_new");
  nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
  return callbacks;
}

static struct bytes content(const char *path) {
  FILE *file = fopen(path, "rb");
  struct buffer found = {0};
  uint8_t part[4096];
  if (!file) die(path);
  for (size_t size; (size = fread(part, 1, sizeof part, file)) > 0;) append(&found, part, size);
  fclose(file);
  return (struct bytes){found.data, found.size};
}

int main(int count, char **given) {
  if (count < 3 || count % 2 == 0 || (count - 3) / 2 > CANNED_MAX) {
    fprintf(stderr, "backend COLUMNS VERSIONS [PATH FILE]...\n");
    return 2;
  }
  columns = atoll(given[1]);
  versions = atoll(given[2]);
  for (int i = 3; i < count; i += 2) canned[canned_count++] = (struct canned){given[i], content(given[i + 1])};
  signal(SIGPIPE, SIG_IGN);
  int epoll = epoll_create1(EPOLL_CLOEXEC), end = ended(), listener = listen_on_loopback();
  nghttp2_session_callbacks *callbacks = callbacks_of_calls();
  /* Their places stand for them: connections have places of their own. */
  struct epoll_event at_end = {.events = EPOLLIN, .data.ptr = &end};
  struct epoll_event at_new = {.events = EPOLLIN, .data.ptr = &listener};
  if (epoll < 0 || end < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, end, &at_end) ||
      epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &at_new))
    die("epoll");
  for (;;) {
    struct epoll_event events[EVENTS];
    int ready = epoll_wait(epoll, events, EVENTS, -1);
    if (ready < 0 && errno != EINTR) die("epoll_wait");
    for (int i = 0; i < ready; i++) {
      if (events[i].data.ptr == &end) {
        while (connections.next != &connections) disconnect(connections.next);
        nghttp2_session_callbacks_del(callbacks);
        printf("{\"calls\": %lld, \"rows\": %lld}\n", calls, rows);
        return 0;
      }
      if (events[i].data.ptr == &listener)
        accept_one(epoll, listener, callbacks);
      else if (serve(epoll, events[i].data.ptr))
        disconnect(events[i].data.ptr);
    }
  }
}

/* mock_upstream: a very cheap stand-in for an OpenAI-compatible provider.
 *
 * One thread, epoll, HTTP/1.1 keep-alive.  Every POST is a chat completion
 * (.../messages speaks Anthropic's dialect, .../embeddings gives a small
 * embedding); every GET answers a model list.
 * The reply is a stream when the body holds "stream":true.
 *
 * How it answers comes from the command line and, per request, from a directive
 * anywhere in the prompt, because the prompt is the one thing every gateway
 * relays untouched:
 *
 *     [[mock chunks=50 delay_us=20000 think_us=0]]
 *
 *   chunks    content chunks in a stream (about 20 tokens each)
 *   delay_us  pause before each chunk after the first
 *   think_us  pause before the reply, or before the first chunk
 *
 * Each chunk's text carries "@t=<CLOCK_MONOTONIC ns, 16 digits>", the moment it
 * was sent, so a client on the same machine can time the transit of every chunk.
 *
 * Build: cc -O2 -o mock_upstream mock_upstream.c
 * Run:   mock_upstream --port 9100 [--chunks N] [--delay-us N] [--think-us N]
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { NOT_WAITING = -1, MAX_EVENTS = 256, READ_STEP = 16384 };

typedef struct {
    int chunks;
    int64_t delay_ns, think_ns;
} Plan;

typedef struct Conn {
    int fd;
    char *in;                /* bytes received and not yet consumed */
    size_t in_len, in_cap;
    char *out;               /* bytes the socket would not take yet */
    size_t out_len, out_off, out_cap;
    int heap_at;             /* place in the timer heap, or NOT_WAITING */
    int64_t due;
    Plan plan;
    int streaming, started, sent, include_usage;
    int embedding, anthropic;
} Conn;

static Plan defaults = {50, 0, 0};
static int epfd;

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- timers: a binary heap of connections ordered by due time ---- */

static Conn **heap;
static int heap_len, heap_cap;

static void heap_put(int i, Conn *c) { heap[i] = c; c->heap_at = i; }

static void heap_up(int i) {
    Conn *c = heap[i];
    for (; i > 0 && heap[(i - 1) / 2]->due > c->due; i = (i - 1) / 2)
        heap_put(i, heap[(i - 1) / 2]);
    heap_put(i, c);
}

static void heap_down(int i) {
    Conn *c = heap[i];
    for (;;) {
        int child = 2 * i + 1;
        if (child >= heap_len) break;
        if (child + 1 < heap_len && heap[child + 1]->due < heap[child]->due) child++;
        if (heap[child]->due >= c->due) break;
        heap_put(i, heap[child]);
        i = child;
    }
    heap_put(i, c);
}

static void timer_set(Conn *c, int64_t due) {
    if (heap_len == heap_cap) {
        heap_cap = heap_cap ? heap_cap * 2 : 256;
        heap = realloc(heap, heap_cap * sizeof *heap);
    }
    c->due = due;
    heap_put(heap_len, c);
    heap_up(heap_len++);
}

static void timer_drop(Conn *c) {
    int i = c->heap_at;
    if (i == NOT_WAITING) return;
    c->heap_at = NOT_WAITING;
    Conn *last = heap[--heap_len];
    if (last == c) return;
    heap_put(i, last);
    heap_up(i);
    heap_down(last->heap_at);
}

/* ---- output ---- */

static void conn_close(Conn *c) {
    timer_drop(c);
    close(c->fd);
    free(c->in);
    free(c->out);
    free(c);
}

static void watch(Conn *c, uint32_t events) {
    struct epoll_event e = {.events = events, .data.ptr = c};
    epoll_ctl(epfd, EPOLL_CTL_MOD, c->fd, &e);
}

/* Send now what the socket takes and keep the rest. False when the peer is gone. */
static int conn_send(Conn *c, const char *data, size_t len) {
    if (c->out_len == 0) {
        ssize_t n = send(c->fd, data, len, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN) return 0;
        if (n < 0) n = 0;
        if ((size_t)n == len) return 1;
        data += n;
        len -= n;
        watch(c, EPOLLIN | EPOLLOUT);
    }
    if (c->out_len + len > c->out_cap) {
        c->out_cap = (c->out_len + len) * 2;
        c->out = realloc(c->out, c->out_cap);
    }
    memcpy(c->out + c->out_len, data, len);
    c->out_len += len;
    return 1;
}

static int conn_flush(Conn *c) {
    ssize_t n = send(c->fd, c->out + c->out_off, c->out_len - c->out_off, MSG_NOSIGNAL);
    if (n < 0) return errno == EAGAIN;
    c->out_off += n;
    if (c->out_off == c->out_len) {
        c->out_len = c->out_off = 0;
        watch(c, EPOLLIN);
    }
    return 1;
}

/* ---- what is sent ---- */

static char reply[2048], message[2048], models[1024], embedding[1024];
static size_t reply_len, message_len, models_len, embedding_len;

static size_t with_headers(char *to, size_t cap, const char *json) {
    return snprintf(to, cap,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
        strlen(json), json);
}

static void prepare_replies(void) {
    reply_len = with_headers(reply, sizeof reply,
        "{\"id\":\"chatcmpl-mock0001\",\"object\":\"chat.completion\",\"created\":1760000000,"
        "\"model\":\"mock-1\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
        "\"content\":\"The quick brown fox jumps over the lazy dog while the model thinks of "
        "something longer to say, so that the whole reply weighs about as much as a short "
        "answer does.\",\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"stop\"}],"
        "\"usage\":{\"prompt_tokens\":25,\"completion_tokens\":34,\"total_tokens\":59,"
        "\"prompt_tokens_details\":{\"cached_tokens\":0},"
        "\"completion_tokens_details\":{\"reasoning_tokens\":0}},"
        "\"system_fingerprint\":\"fp_mock\"}");
    message_len = with_headers(message, sizeof message,
        "{\"id\":\"msg_mock0001\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"mock-1\","
        "\"content\":[{\"type\":\"text\",\"text\":\"The quick brown fox jumps over the lazy dog while the "
        "model thinks of something longer to say, so that the whole reply weighs about as much as a "
        "short answer does.\"}],\"stop_reason\":\"end_turn\",\"stop_sequence\":null,"
        "\"usage\":{\"input_tokens\":25,\"output_tokens\":34}}");
    models_len = with_headers(models, sizeof models,
        "{\"object\":\"list\",\"data\":[{\"id\":\"mock-1\",\"object\":\"model\","
        "\"created\":1760000000,\"owned_by\":\"mock\"}]}");
    embedding_len = with_headers(embedding, sizeof embedding,
        "{\"object\":\"list\",\"model\":\"mock-embed\",\"data\":[{\"object\":\"embedding\","
        "\"index\":0,\"embedding\":[0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8]}],"
        "\"usage\":{\"prompt_tokens\":5,\"total_tokens\":5}}");
}

static const char STREAM_HEAD[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    "Transfer-Encoding: chunked\r\n\r\n";

#define EVENT_HEAD "data: {\"id\":\"chatcmpl-mock0001\",\"object\":\"chat.completion.chunk\"," \
    "\"created\":1760000000,\"model\":\"mock-1\",\"system_fingerprint\":\"fp_mock\","
static const char CHUNK_A[] = EVENT_HEAD
    "\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\" @t=";
static const char CHUNK_B[] =
    " the quick brown fox jumps over the lazy dog and then some more words\"},"
    "\"logprobs\":null,\"finish_reason\":null}]}\n\n";
static const char LAST[] = EVENT_HEAD
    "\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\"}]}\n\n";
static const char USAGE[] = EVENT_HEAD
    "\"choices\":[],\"usage\":{\"prompt_tokens\":25,\"completion_tokens\":1000,"
    "\"total_tokens\":1025}}\n\n";
static const char DONE[] = "data: [DONE]\n\n";

static const char ANTHROPIC_START[] =
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_mock0001\","
    "\"type\":\"message\",\"role\":\"assistant\",\"model\":\"mock-1\",\"content\":[],"
    "\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":25,\"output_tokens\":1}}}\n\n"
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,"
    "\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n";
static const char DELTA_A[] =
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,"
    "\"delta\":{\"type\":\"text_delta\",\"text\":\" @t=";
static const char DELTA_B[] = " the quick brown fox jumps over the lazy dog and then some more words\"}}\n\n";
static const char ANTHROPIC_END[] =
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n"
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\","
    "\"stop_sequence\":null},\"usage\":{\"output_tokens\":1000}}\n\n"
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

static char *put(char *at, const char *data, size_t len) { memcpy(at, data, len); return at + len; }

/* One HTTP chunk around an event. */
static char *put_event(char *at, const char *event, size_t len) {
    at += sprintf(at, "%zx\r\n", len);
    at = put(at, event, len);
    return put(at, "\r\n", 2);
}

static int send_content_chunk(Conn *c) {
    char event[512], framed[640], *e = event;
    int64_t t = now_ns();
    e = c->anthropic ? put(e, DELTA_A, sizeof DELTA_A - 1) : put(e, CHUNK_A, sizeof CHUNK_A - 1);
    for (int i = 15; i >= 0; i--, t /= 10) e[i] = '0' + t % 10;
    e += 16;
    e = c->anthropic ? put(e, DELTA_B, sizeof DELTA_B - 1) : put(e, CHUNK_B, sizeof CHUNK_B - 1);
    char *end = put_event(framed, event, e - event);
    c->sent++;
    return conn_send(c, framed, end - framed);
}

static int send_stream_end(Conn *c) {
    char tail[2048], *at = tail;
    if (c->anthropic) {
        at = put_event(at, ANTHROPIC_END, sizeof ANTHROPIC_END - 1);
    } else {
        at = put_event(at, LAST, sizeof LAST - 1);
        if (c->include_usage) at = put_event(at, USAGE, sizeof USAGE - 1);
        at = put_event(at, DONE, sizeof DONE - 1);
    }
    at = put(at, "0\r\n\r\n", 5);
    c->streaming = c->started = 0;
    return conn_send(c, tail, at - tail);
}

/* Do everything due now on a stream; set a timer when something must wait. */
static int stream_step(Conn *c) {
    if (!c->started) {
        c->started = 1;
        char head[1024], *at = put(head, STREAM_HEAD, sizeof STREAM_HEAD - 1);
        if (c->anthropic) at = put_event(at, ANTHROPIC_START, sizeof ANTHROPIC_START - 1);
        if (!conn_send(c, head, at - head)) return 0;
    }
    while (c->sent < c->plan.chunks) {
        if (!send_content_chunk(c)) return 0;
        if (c->plan.delay_ns && c->sent < c->plan.chunks) {
            timer_set(c, (c->due ? c->due : now_ns()) + c->plan.delay_ns);
            return 1;
        }
    }
    return send_stream_end(c);
}

static int answer(Conn *c) {
    if (c->streaming) return stream_step(c);
    if (c->embedding) return conn_send(c, embedding, embedding_len);
    if (c->anthropic) return conn_send(c, message, message_len);
    return conn_send(c, reply, reply_len);
}

/* ---- requests ---- */

static int64_t directive_value(const char *from, const char *end, const char *name, int64_t other) {
    const char *at = memmem(from, end - from, name, strlen(name));
    return at ? strtoll(at + strlen(name), NULL, 10) : other;
}

static Plan plan_of(const char *body, size_t len) {
    Plan plan = defaults;
    const char *from = memmem(body, len, "[[mock ", 7);
    if (!from) return plan;
    const char *end = memmem(from, body + len - from, "]]", 2);
    if (!end) return plan;
    plan.chunks = directive_value(from, end, "chunks=", plan.chunks);
    plan.delay_ns = directive_value(from, end, "delay_us=", plan.delay_ns / 1000) * 1000;
    plan.think_ns = directive_value(from, end, "think_us=", plan.think_ns / 1000) * 1000;
    return plan;
}

static int asks_stream(const char *body, size_t len) {
    return memmem(body, len, "\"stream\":true", 13) || memmem(body, len, "\"stream\": true", 14);
}

/* Value of a header inside [head, end), or NULL. */
static const char *header(const char *head, const char *end, const char *name) {
    size_t len = strlen(name);
    for (const char *line = head; line && line < end; line = memchr(line, '\n', end - line)) {
        if (*line == '\n') line++;
        if (end - line > (long)len && !strncasecmp(line, name, len)) return line + len;
    }
    return NULL;
}

/* Length of a complete chunked body starting at `at` (0: more is needed).
 * The payload is moved together in place; *payload gets its length. */
static size_t chunked_body(char *at, char *end, size_t *payload) {
    char *start = at, *p = at;
    size_t total = 0;
    for (int pass = 0; pass < 2; pass++) {      /* first pass: is it complete? */
        char *to = start;
        p = at;
        for (;;) {
            char *eol = memmem(p, end - p, "\r\n", 2);
            if (!eol) return 0;
            size_t n = strtoul(p, NULL, 16);
            p = eol + 2;
            if ((size_t)(end - p) < n + 2) return 0;
            if (n == 0) { p += 2; break; }
            if (pass) { memmove(to, p, n); to += n; total += n; }
            p += n + 2;
        }
    }
    *payload = total;
    return p - start;
}

/* Answer each complete request in the buffer. False when the connection must go. */
static int serve(Conn *c) {
    while (c->heap_at == NOT_WAITING && !c->streaming && c->in_len) {
        char *head_end = memmem(c->in, c->in_len, "\r\n\r\n", 4);
        if (!head_end) return c->in_len < 65536;
        char *body = head_end + 4, *end = c->in + c->in_len;
        size_t body_len = 0, used;
        const char *value;
        if ((value = header(c->in, head_end, "content-length:"))) {
            body_len = strtoul(value, NULL, 10);
            if ((size_t)(end - body) < body_len) {
                if (header(c->in, head_end, "expect:") && body == end)
                    return conn_send(c, "HTTP/1.1 100 Continue\r\n\r\n", 25);
                return 1;
            }
            used = body + body_len - c->in;
        } else if (header(c->in, head_end, "transfer-encoding:")) {
            size_t n = chunked_body(body, end, &body_len);
            if (!n) return 1;
            used = body + n - c->in;
        } else {
            used = body - c->in;
        }
        int ok = 1;
        if (c->in[0] == 'G') {
            ok = conn_send(c, models, models_len);
        } else {
            c->plan = plan_of(body, body_len);
            size_t line = 64 < c->in_len ? 64 : c->in_len;
            c->embedding = memmem(c->in, line, "/embeddings", 11) != NULL;
            c->anthropic = memmem(c->in, line, "/messages", 9) != NULL;
            c->streaming = asks_stream(body, body_len);
            c->include_usage = memmem(body, body_len, "include_usage", 13) != NULL;
            c->started = c->sent = 0;
            c->due = 0;
            if (c->plan.think_ns) timer_set(c, now_ns() + c->plan.think_ns);
            else ok = answer(c);
        }
        c->in_len -= used;
        memmove(c->in, c->in + used, c->in_len);
        if (!ok) return 0;
    }
    return 1;
}

static int conn_read(Conn *c) {
    if (c->in_cap - c->in_len < READ_STEP) {
        c->in_cap = c->in_cap ? c->in_cap * 2 : READ_STEP;
        c->in = realloc(c->in, c->in_cap);
    }
    ssize_t n = recv(c->fd, c->in + c->in_len, c->in_cap - c->in_len, 0);
    if (n == 0) return 0;
    if (n < 0) return errno == EAGAIN;
    c->in_len += n;
    return serve(c);
}

static void run_timers(void) {
    int64_t now = now_ns();
    while (heap_len && heap[0]->due <= now) {
        Conn *c = heap[0];
        timer_drop(c);
        if (!answer(c) || !serve(c)) conn_close(c);
    }
}

static void accept_all(int listener) {
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        int one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        Conn *c = calloc(1, sizeof *c);
        c->fd = fd;
        c->heap_at = NOT_WAITING;
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &e);
    }
}

static int listen_on(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&a, sizeof a) || listen(fd, 4096)) {
        perror("mock_upstream: listen");
        exit(1);
    }
    return fd;
}

int main(int argc, char **argv) {
    int port = 9100;
    for (int i = 1; i + 1 < argc; i += 2) {
        long long v = atoll(argv[i + 1]);
        if (!strcmp(argv[i], "--port")) port = v;
        else if (!strcmp(argv[i], "--chunks")) defaults.chunks = v;
        else if (!strcmp(argv[i], "--delay-us")) defaults.delay_ns = v * 1000;
        else if (!strcmp(argv[i], "--think-us")) defaults.think_ns = v * 1000;
        else { fprintf(stderr, "mock_upstream: unknown option %s\n", argv[i]); return 2; }
    }
    signal(SIGPIPE, SIG_IGN);
    prepare_replies();
    epfd = epoll_create1(0);
    int listener = listen_on(port);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL}, events[MAX_EVENTS];
    epoll_ctl(epfd, EPOLL_CTL_ADD, listener, &e);
    for (;;) {
        struct timespec wait, *timeout = NULL;
        if (heap_len) {
            int64_t left = heap[0]->due - now_ns();
            if (left < 0) left = 0;
            wait = (struct timespec){left / 1000000000, left % 1000000000};
            timeout = &wait;
        }
        int n = epoll_pwait2(epfd, events, MAX_EVENTS, timeout, NULL);
        for (int i = 0; i < n; i++) {
            Conn *c = events[i].data.ptr;
            if (!c) { accept_all(listener); continue; }
            int ok = 1;
            if (events[i].events & EPOLLOUT) ok = conn_flush(c);
            if (ok && (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))) ok = conn_read(c);
            if (!ok) conn_close(c);
        }
        run_timers();
    }
}

/* The load: sends prepared requests over HTTP/1.1, and notes what became of each.

   load PORT REQUESTS RESULTS FIRST CONNECTIONS SECONDS RATE FRESH

   REQUESTS  each request with its length before it (4 bytes, the machine's order)
   RESULTS   written; for each request from FIRST on that was sent: its status (1: no answer) and
             how many microseconds it took, 4 bytes each
   RATE      0: a connection sends its next request once it is answered (closed loop); else so many
             a second at random times, each timed from when it was due (open loop)
   FRESH     1: a connection for each request, and connecting counts

   Prints the seconds from the first request to the last answer, and the CPU seconds used. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { NO_ANSWER = 1, LONGEST_ANSWER = 1 << 20, DRAIN_SECONDS = 10 };

struct request { const char *text; uint32_t length; };
struct result { uint32_t status, microseconds; };
struct connection { long request; double since; size_t length; char answer[LONGEST_ANSWER + 1]; };

static struct sockaddr_in server = {.sin_family = AF_INET};
static struct request *requests;
static struct result *results;
static struct connection *connections;
static struct pollfd *sockets;
static int is_fresh;
static long in_flight;
static double last_answer;

static _Noreturn void fail(const char *what) { perror(what); exit(1); }

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static long read_requests(const char *path) {
    int file = open(path, O_RDONLY);
    struct stat about;
    if (file < 0 || fstat(file, &about)) fail(path);
    const char *at = mmap(NULL, about.st_size, PROT_READ, MAP_PRIVATE, file, 0), *end = at + about.st_size;
    if (at == MAP_FAILED) fail("mmap");
    long count = 0;
    for (uint32_t length; at < end; at += 4 + length, count++) {
        memcpy(&length, at, 4);
        if (count % 4096 == 0) requests = realloc(requests, (count + 4096) * sizeof *requests);
        requests[count] = (struct request){at + 4, length};
    }
    return count;
}

static void hang_up(int i) {
    if (sockets[i].fd >= 0) close(sockets[i].fd);
    sockets[i].fd = -1;
}

static void dial(int i) {
    int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&server, sizeof server)) fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    sockets[i].fd = fd;
}

static void ask(int i, long request, double since) {
    connections[i].request = request;
    connections[i].since = since;
    connections[i].length = 0;
    results[request].status = NO_ANSWER;
    in_flight++;
    for (int tries = 0; tries < 2; tries++) { /* an idle connection may have been closed meanwhile */
        if (sockets[i].fd < 0) dial(i);
        struct request r = requests[request];
        if (send(sockets[i].fd, r.text, r.length, MSG_NOSIGNAL) == (ssize_t)r.length) return;
        hang_up(i);
    }
    connections[i].request = -1; /* its result stays: no answer */
    in_flight--;
}

static int is_whole(const struct connection *c, int is_closed) {
    const char *body = strstr(c->answer, "\r\n\r\n");
    if (!body) return 0;
    const char *length = strcasestr(c->answer, "\r\nContent-Length:"), *end = c->answer + c->length;
    body += 4;
    if (length && length < body) return end - body >= atol(length + 17);
    return is_closed || c->length == LONGEST_ANSWER || (end - body >= 5 && !strcmp(end - 5, "0\r\n\r\n"));
}

static void hear(int i) {
    struct connection *c = &connections[i];
    ssize_t got = recv(sockets[i].fd, c->answer + c->length, LONGEST_ANSWER - c->length, MSG_DONTWAIT);
    int is_closed = got <= 0;
    c->length += is_closed ? 0 : got;
    c->answer[c->length] = 0;
    int has_answer = c->request >= 0 && is_whole(c, is_closed);
    if (has_answer) {
        last_answer = now();
        results[c->request].status = atoi(c->answer + strlen("HTTP/1.1 "));
        results[c->request].microseconds = (last_answer - c->since) * 1e6;
    }
    if (has_answer || is_closed) {
        in_flight -= c->request >= 0;
        c->request = -1;
    }
    if (is_closed || (has_answer && (is_fresh || strcasestr(c->answer, "\r\nConnection: close")))) hang_up(i);
}

static int wait_until(double moment, int count) {
    double left = fmax(0, moment - now());
    struct timespec patience = {left, fmod(left, 1) * 1e9};
    return ppoll(sockets, count, &patience, NULL);
}

int main(int argc, char **argv) {
    if (argc != 9) return 2;
    server.sin_port = htons(atoi(argv[1]));
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    long stop = read_requests(argv[2]), first = atol(argv[4]), next = first;
    int many = atoi(argv[5]);
    double seconds = atof(argv[6]), rate = atof(argv[7]);
    is_fresh = atoi(argv[8]);
    results = calloc(stop, sizeof *results);
    connections = calloc(many, sizeof *connections);
    sockets = calloc(many, sizeof *sockets);
    if (!results || !connections || !sockets) fail("calloc");
    for (int i = 0; i < many; i++) {
        sockets[i] = (struct pollfd){.fd = -1, .events = POLLIN};
        connections[i].request = -1;
    }

    double begin = now(), end = begin + seconds, due = begin;
    last_answer = begin;
    srand48(1); /* the same times for everybody */
    for (;;) {
        double time = now(), wake = end + DRAIN_SECONDS;
        int is_over = time >= end || next == stop;
        for (int i = 0; i < many && !is_over; i++) {
            if (connections[i].request >= 0) continue;
            if (rate && due > time) { wake = fmin(due, end); break; }
            ask(i, next++, rate ? due : time);
            if (rate) due -= log(1 - drand48()) / rate;
            is_over = next == stop;
        }
        if (is_over && (!in_flight || time >= end + DRAIN_SECONDS)) break;
        if (wait_until(is_over ? wake : fmin(wake, end), many) <= 0) continue;
        for (int i = 0; i < many; i++)
            if (sockets[i].revents && sockets[i].fd >= 0) hear(i);
    }

    FILE *file = fopen(argv[3], "wb");
    if (!file || fwrite(results + first, sizeof *results, next - first, file) != (size_t)(next - first) ||
        fclose(file))
        fail(argv[3]);
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    printf("%.6f %.6f\n", last_answer - begin,
           used.ru_utime.tv_sec + used.ru_utime.tv_usec / 1e6 + used.ru_stime.tv_sec + used.ru_stime.tv_usec / 1e6);
    return 0;
}

/*
 * What the network benchmark runs inside containers and outside of them.
 *
 *   netprobe pong PORT            answers each byte with a byte, connection after connection
 *   netprobe ping HOST PORT N     N times a byte there and a byte back; prints the median in nanoseconds
 *   netprobe ask NAME N           N questions for the address of NAME to the first resolver; prints the median
 *
 * HOST is an IPv4 address. Built statically, so that it runs in any image.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void need(int ok, const char *what)
{
    if (ok)
        return;
    perror(what);
    exit(1);
}

static long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
    long x = *(const long *)a, y = *(const long *)b;
    return (x > y) - (x < y);
}

static void print_median(long *took, int n)
{
    qsort(took, n, sizeof *took, by_size);
    printf("%ld\n", took[n / 2]);
}

static void without_delay(int fd)
{
    int yes = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
}

static void pong(int port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    int yes = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    need(bind(listener, (struct sockaddr *)&at, sizeof at) == 0, "bind");
    need(listen(listener, 8) == 0, "listen");
    for (;;) {
        char byte;
        int fd = accept(listener, NULL, NULL);
        need(fd >= 0, "accept");
        without_delay(fd);
        while (read(fd, &byte, 1) == 1 && write(fd, &byte, 1) == 1)
            ;
        close(fd);
    }
}

static int ping(const char *host, int port, int n)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    long *took = calloc(n, sizeof *took);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    need(inet_pton(AF_INET, host, &at.sin_addr) == 1, host);
    need(connect(fd, (struct sockaddr *)&at, sizeof at) == 0, "connect");
    without_delay(fd);
    for (int i = 0; i < n; i++) {
        char byte = 'x';
        long start = now();
        need(write(fd, &byte, 1) == 1, "write");
        need(read(fd, &byte, 1) == 1, "read");
        took[i] = now() - start;
    }
    print_median(took, n);
    return 0;
}

/* The first `nameserver` of /etc/resolv.conf. */
static void resolver(struct sockaddr_in *at)
{
    char line[256], text[64];
    FILE *file = fopen("/etc/resolv.conf", "r");
    need(file != NULL, "/etc/resolv.conf");
    at->sin_family = AF_INET;
    at->sin_port = htons(53);
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "nameserver %63s", text) == 1 && inet_pton(AF_INET, text, &at->sin_addr) == 1)
            break;
    fclose(file);
}

/* A question of type A in RFC 1035's form; returns its length. */
static int question(unsigned char *to, int id, const char *name)
{
    static const unsigned char head[] = {0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0};
    static const unsigned char tail[] = {0, 0, 1, 0, 1};
    unsigned char *at = to + sizeof head;
    memcpy(to, head, sizeof head);
    to[0] = id >> 8;
    to[1] = id;
    while (*name) {
        size_t length = strcspn(name, ".");
        *at++ = length;
        memcpy(at, name, length);
        at += length;
        name += length + (name[length] == '.');
    }
    memcpy(at, tail, sizeof tail);
    return at + sizeof tail - to;
}

static int ask(const char *name, int n)
{
    struct sockaddr_in at = {0};
    struct timeval limit = {.tv_sec = 5};
    long *took = calloc(n, sizeof *took);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    resolver(&at);
    need(connect(fd, (struct sockaddr *)&at, sizeof at) == 0, "connect");
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    need(strlen(name) < 200, "the name is too long");
    for (int i = 0; i < n; i++) {
        unsigned char packet[4096];
        int length = question(packet, i & 0xffff, name);
        long start = now();
        need(send(fd, packet, length, 0) == length, "send");
        length = recv(fd, packet, sizeof packet, 0);
        took[i] = now() - start;
        /* At least one answer, and no error. */
        need(length > 12 && (packet[3] & 15) == 0 && (packet[6] | packet[7]), "an answer");
    }
    print_median(took, n);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "pong"))
        pong(atoi(argv[2]));
    if (argc == 5 && !strcmp(argv[1], "ping"))
        return ping(argv[2], atoi(argv[3]), atoi(argv[4]));
    if (argc == 4 && !strcmp(argv[1], "ask"))
        return ask(argv[2], atoi(argv[3]));
    fprintf(stderr, "usage: netprobe pong PORT | ping HOST PORT N | ask NAME N\n");
    return 2;
}

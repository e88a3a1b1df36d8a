/* The upstream of the measured resolvers: answers every question at once and cheaply, so that it
 * can stand on the load generator's core.
 *
 *   upstream ADDRESS PORT answering|silent
 *
 * Over UDP and over TCP (dnsdist asks upstream as it was asked). silent takes every question and
 * answers none, as an upstream behind a dead tunnel.
 * A and AAAA questions get one record of TTL 3600 (198.51.100.7, 2001:db8::7), others no record.
 * OPT answers OPT (RFC 6891 6.1.1), without options. */
#include "batch.h"

#include <pthread.h>
#include <unistd.h>

enum { HEADER = 12, QTYPE_AND_CLASS = 4, OPT_OCTETS = 11 };
enum { TYPE_A = 1, TYPE_AAAA = 28, TYPE_OPT = 41 };

static const uint8_t A_RECORD[] = {
    0xc0, 12, 0, TYPE_A, 0, 1, 0, 0, 0x0e, 0x10, 0, 4, 198, 51, 100, 7};
static const uint8_t AAAA_RECORD[] = {
    0xc0, 12, 0, TYPE_AAAA, 0, 1, 0, 0, 0x0e, 0x10, 0, 16,
    0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7};
static const uint8_t OPT_RECORD[OPT_OCTETS] = {0, 0, TYPE_OPT, 1232 >> 8, 1232 & 0xff};

static size_t append(uint8_t *message, size_t end, const uint8_t *record, size_t length)
{
    memcpy(message + end, record, length);
    return end + length;
}

static size_t answer(uint8_t *message, size_t length)
{
    size_t end = HEADER;
    while (end < length && message[end] != 0)
        end += 1u + message[end];
    end += 1 + QTYPE_AND_CLASS;
    if (end > length || end > 512)
        return 0;
    unsigned qtype = (unsigned)message[end - 4] << 8 | message[end - 3];
    /* Resolvers put nothing but OPT behind the question. */
    int edns = length >= end + OPT_OCTETS && message[end + 2] == TYPE_OPT;

    message[2] = (uint8_t)(0x80 | (message[2] & 0x01)); /* QR, RD as asked */
    message[3] = (uint8_t)(0x80 | (message[3] & 0x10)); /* RA, CD as asked, NOERROR */
    memset(message + 6, 0, 6);
    if (qtype == TYPE_A || qtype == TYPE_AAAA)
        message[7] = 1;
    if (qtype == TYPE_A)
        end = append(message, end, A_RECORD, sizeof A_RECORD);
    else if (qtype == TYPE_AAAA)
        end = append(message, end, AAAA_RECORD, sizeof AAAA_RECORD);
    if (edns) {
        message[11] = 1;
        end = append(message, end, OPT_RECORD, sizeof OPT_RECORD);
    }
    return end;
}

static size_t keep_silent(uint8_t *message, size_t length)
{
    (void)message;
    (void)length;
    return 0;
}

static int read_whole(int file, uint8_t *octets, size_t length)
{
    for (size_t have = 0; have < length;) {
        ssize_t got = read(file, octets + have, length - have);
        if (got <= 0)
            return 0;
        have += (size_t)got;
    }
    return 1;
}

/* One TCP connection, question by question (RFC 1035 4.2.2: two octets of length before each). */
static void *serve_stream(void *argument)
{
    uint8_t framed[2 + ROOM];
    int file = (int)(intptr_t)argument;

    while (read_whole(file, framed, 2)) {
        size_t length = (size_t)framed[0] << 8 | framed[1];
        if (length > ROOM || !read_whole(file, framed + 2, length))
            break;
        length = answer(framed + 2, length);
        framed[0] = (uint8_t)(length >> 8);
        framed[1] = (uint8_t)length;
        if (length == 0 || send(file, framed, 2 + length, MSG_NOSIGNAL) < 0)
            break;
    }
    close(file);
    return NULL;
}

static void *serve_streams(void *argument)
{
    for (;;) {
        pthread_t thread;
        int file = accept((int)(intptr_t)argument, NULL, NULL);
        if (file >= 0 && pthread_create(&thread, NULL, serve_stream, (void *)(intptr_t)file) == 0)
            pthread_detach(thread);
    }
    return NULL;
}

int main(int count, char **words)
{
    if (count != 4) {
        fprintf(stderr, "usage: %s ADDRESS PORT answering|silent\n", words[0]);
        return 2;
    }
    int is_silent = strcmp(words[3], "silent") == 0;
    int listener = bound_socket(words[1], words[2], SOCK_STREAM);
    pthread_t streams;
    if (!is_silent && listen(listener, SOMAXCONN) == 0)
        pthread_create(&streams, NULL, serve_streams, (void *)(intptr_t)listener);
    serve_batched(bound_socket(words[1], words[2], SOCK_DGRAM), is_silent ? keep_silent : answer);
}

/* The floor that servers are held against: a UDP echo that sets QR, so that a load generator takes
 * it for an answer with NOERROR. What it costs is the kernel's work and nothing else.
 *
 *   echo ADDRESS PORT batched|plain
 *
 * batched: recvmmsg and sendmmsg, 64 at most; plain: one recvfrom and one sendto a datagram. */
#include "batch.h"

static size_t answer(uint8_t *message, size_t length)
{
    if (length < 12)
        return 0;
    message[2] |= 0x80; /* QR, RFC 1035 4.1.1 */
    return length;
}

static void serve_plain(int file)
{
    uint8_t octets[ROOM];
    struct sockaddr_storage from;

    for (;;) {
        socklen_t size = sizeof from;
        ssize_t length = recvfrom(file, octets, sizeof octets, 0, (struct sockaddr *)&from, &size);
        if (length > 0 && answer(octets, (size_t)length) > 0)
            sendto(file, octets, (size_t)length, 0, (struct sockaddr *)&from, size);
    }
}

int main(int count, char **words)
{
    if (count != 4) {
        fprintf(stderr, "usage: %s ADDRESS PORT batched|plain\n", words[0]);
        return 2;
    }
    int file = bound_socket(words[1], words[2], SOCK_DGRAM);
    if (strcmp(words[3], "plain") == 0)
        serve_plain(file);
    else
        serve_batched(file, answer);
}

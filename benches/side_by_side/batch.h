/* The batched UDP loop that the echo and the upstream share: take what waits (64 datagrams at
 * most), turn each into its answer in place, send them all back. Knows nothing of DNS. */
#ifndef BATCH_H
#define BATCH_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* 64 is what servers with recvmmsg take (dnsdist's manual, privatelinkd); more gains nothing. */
enum { BATCH = 64, ROOM = 1232, SOCKET_BUFFER_OCTETS = 4 << 20 };

/* Turns a question of `length` octets into its answer in place; gives its length, 0 for none. */
typedef size_t turn(uint8_t *message, size_t length);

static int bound_socket(const char *address, const char *port, int type)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    int octets = SOCKET_BUFFER_OCTETS;
    int file = socket(AF_INET, type, 0);
    /* The upstream is started anew while connections to the one before still fade away. */
    int yes = 1;
    if (file >= 0 && type == SOCK_STREAM)
        setsockopt(file, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (file < 0 || inet_pton(AF_INET, address, &at.sin_addr) != 1 ||
        bind(file, (struct sockaddr *)&at, sizeof at) != 0) {
        perror("socket");
        exit(1);
    }
    setsockopt(file, SOL_SOCKET, SO_RCVBUF, &octets, sizeof octets);
    setsockopt(file, SOL_SOCKET, SO_SNDBUF, &octets, sizeof octets);
    return file;
}

static void serve_batched(int file, turn *turn)
{
    static uint8_t octets[BATCH][ROOM];
    static struct sockaddr_storage from[BATCH];
    struct iovec in[BATCH], out[BATCH];
    struct mmsghdr asked[BATCH], replies[BATCH];

    for (;;) {
        for (int i = 0; i < BATCH; i++) {
            in[i] = (struct iovec){octets[i], ROOM};
            asked[i].msg_hdr = (struct msghdr){
                .msg_name = &from[i], .msg_namelen = sizeof from[i],
                .msg_iov = &in[i], .msg_iovlen = 1};
        }
        int got = recvmmsg(file, asked, BATCH, MSG_WAITFORONE, NULL);
        int ready = 0;
        for (int i = 0; i < got; i++) {
            size_t length = turn(octets[i], asked[i].msg_len);
            if (length == 0)
                continue;
            out[ready] = (struct iovec){octets[i], length};
            replies[ready].msg_hdr = asked[i].msg_hdr;
            replies[ready].msg_hdr.msg_iov = &out[ready];
            ready++;
        }
        for (int sent = 0; sent < ready;) {
            int now = sendmmsg(file, replies + sent, (unsigned)(ready - sent), 0);
            sent += now > 0 ? now : 1; /* what cannot be sent is lost, as with any server */
        }
    }
}

#endif

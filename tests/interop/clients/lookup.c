/* Looks each name up as any program does, through the C library; one line a name:
   `name address…`, sorted by the caller, or `name error N`. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		struct addrinfo hints, *found = NULL;
		memset(&hints, 0, sizeof hints);
		hints.ai_socktype = SOCK_STREAM;
		int error = getaddrinfo(argv[i], NULL, &hints, &found);
		printf("%s", argv[i]);
		if (error)
			printf(" error %d", error);
		for (struct addrinfo *at = found; at; at = at->ai_next) {
			char text[INET6_ADDRSTRLEN];
			const void *address = at->ai_family == AF_INET
				? (const void *)&((struct sockaddr_in *)at->ai_addr)->sin_addr
				: (const void *)&((struct sockaddr_in6 *)at->ai_addr)->sin6_addr;
			if (inet_ntop(at->ai_family, address, text, sizeof text))
				printf(" %s", text);
		}
		printf("\n");
		if (found)
			freeaddrinfo(found);
	}
	return 0;
}

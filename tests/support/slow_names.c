/* Makes getaddrinfo hang for 30 s on names that end in .slow.test, like a dead name server.
   Built and used by tests/support/injected.py. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>

typedef int lookup(const char *, const char *, const struct addrinfo *, struct addrinfo **);

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **result)
{
    static const char slow[] = ".slow.test";
    size_t size = node ? strlen(node) : 0;
    if (size > strlen(slow) && strcmp(node + size - strlen(slow), slow) == 0) {
        sleep(30);
        return EAI_AGAIN;
    }
    return ((lookup *)dlsym(RTLD_NEXT, "getaddrinfo"))(node, service, hints, result);
}

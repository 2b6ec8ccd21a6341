/* leak_probe_static again INDEX: connects and sends by itself. */
#include <arpa/inet.h>

#include "leak.h"

int main(int argc, char **argv)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(80)};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);

    if (argc != 3)
        return 2;
    to.sin_addr.s_addr = htonl(0x0a030000u + (unsigned)atoi(argv[2]));
    connect(fd, (struct sockaddr *)&to, sizeof to);
    return send(fd, "leak", 4, 0) != 4;
}

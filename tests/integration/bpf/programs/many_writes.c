// Connects to 127.0.0.1:PORT and writes COUNT bytes, each by a write() of its own.
#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int s = socket(AF_INET, SOCK_STREAM, 0);
    if (argc < 3 || connect(s, (struct sockaddr *)&to, sizeof(to)))
        return 1;
    for (int left = atoi(argv[2]); left > 0; left--)
        if (write(s, "x", 1) != 1)
            return 2;
    return 0;
}
